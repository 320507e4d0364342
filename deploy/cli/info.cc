#include "deploy/cli/info.h"

#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "deploy/cli/client.h"
#include "deploy/cli/options.h"
#include "deploy/cli/pair.h"
#include "deploy/cli/terminal.h"
#include "softsplice/v1/decoder.grpc.pb.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

struct InfoOptions {
  std::string server;
  std::string encoder;
  Access access;
  bool encoder_asked = false;  // by name
  bool json = false;
};

const char* HealthName(Health health) {
  switch (health) {
    case Health::kServing:
      return "serving";
    case Health::kNotServing:
      return "not serving";
    case Health::kUnreachable:
      return "unreachable";
  }
  return "";
}

std::string Fingerprint(const std::string& bytes) {
  return bytes.empty() ? "none" : absl::BytesToHexString(bytes);
}

std::string Mebibytes(uint64_t bytes) { return absl::StrCat(bytes >> 20, " MiB"); }

// One line for each device.
template <class Info>
void PrintDevices(const Info& info, std::ostream& out) {
  for (const v1::Device& device : info.devices()) {
    out << "  device " << absl::StrFormat("%-5d ", device.index()) << device.name()
        << ", the model takes " << BytesForPeople(device.model_bytes()) << " (weights "
        << BytesForPeople(device.weights_bytes());
    if (device.cache_bytes() > 0) {
      out << ", keys and values " << BytesForPeople(device.cache_bytes());
    }
    out << ", workspace " << BytesForPeople(device.workspace_bytes()) << "), "
        << BytesForPeople(device.free_bytes()) << " of " << BytesForPeople(device.total_bytes())
        << " free\n";
  }
}

void PrintDecoder(const v1::GetDecoderInfoResponse& info, std::ostream& out) {
  const v1::DecoderLoad& load = info.load();
  out << "  model        " << info.model_name() << ", width " << info.dim() << ", vocabulary "
      << info.vocabulary_size() << "\n"
      << "  context      " << info.context_length() << " tokens, " << info.max_sequences()
      << " requests at once\n"
      << "  runs on      " << info.backend() << " (version " << info.version() << ")\n";
  PrintDevices(info, out);
  out << "  load         " << load.running() << " running, " << load.queued() << " waiting, "
      << load.sessions() << " sessions, KV cache " << Mebibytes(load.kv_bytes_used()) << " of "
      << Mebibytes(load.kv_bytes_total()) << "\n"
      << "  takes rows of " << Fingerprint(info.encoder_fingerprint()) << "\n";
  for (const v1::EncoderTarget& target : info.encoders()) {
    out << "  encoder      " << (target.address().empty() ? target.name() : target.address())
        << ", " << (target.healthy() ? "healthy" : "not healthy") << ", " << target.in_flight()
        << " media in work\n";
    if (!target.reason().empty()) out << "               " << target.reason() << "\n";
  }
}

// "pictures, sounds and videos".
std::string Listed(const std::vector<std::string>& things) {
  if (things.size() < 2) return absl::StrJoin(things, "");
  return absl::StrCat(absl::StrJoin(things.begin(), things.end() - 1, ", "), " and ",
                      things.back());
}

void PrintEncoder(const v1::GetEncoderInfoResponse& info, std::ostream& out) {
  std::vector<std::string> takes;
  if (info.has_image_tower()) takes.push_back("pictures");
  if (info.has_audio_tower()) takes.push_back("sounds");
  const v1::EncoderLimits& limits = info.limits();
  const int64_t video_seconds = limits.max_video_duration().seconds();
  const bool takes_videos = info.has_image_tower() && video_seconds > 0;
  if (takes_videos) takes.push_back("videos");
  std::vector<std::string> most = {Mebibytes(limits.max_media_bytes()) + " a file"};
  if (info.has_image_tower()) most.push_back(absl::StrCat(limits.max_image_pixels(), " pixels"));
  if (info.has_audio_tower()) {
    most.push_back(absl::StrCat(limits.max_audio_duration().seconds(), " s of sound"));
  }
  if (takes_videos) most.push_back(absl::StrCat(video_seconds, " s of video"));
  most.push_back(absl::StrCat(limits.max_queue(), " waiting"));
  out << "  model        " << info.model_name() << ", width " << info.dim() << ", for "
      << Listed(takes) << "\n"
      << "  limits       " << absl::StrJoin(most, ", ") << "\n"
      << "  runs on      " << info.backend() << " (version " << info.version() << ")\n";
  PrintDevices(info, out);
  out << "  load         " << info.load().encoding() << " encoding, " << info.load().queued()
      << " waiting\n";
  if (limits.cache_bytes() > 0) {
    out << "  cache        " << Mebibytes(info.load().cache_bytes()) << " of "
        << Mebibytes(limits.cache_bytes()) << ", " << info.load().cache_hits() << " hits, "
        << info.load().cache_misses() << " misses\n";
  }
  out << "  fingerprint  " << Fingerprint(info.encoder_fingerprint()) << "\n";
}

// One service: connects, asks `call(channel, context, info)`, and prints, or with --json adds to
// `json`. Returns an exit code.
template <typename Info, typename Call>
int Describe(const char* name, const std::string& address, Interrupts& interrupts,
             const InfoOptions& options, Call call, void (*print)(const Info&, std::ostream&),
             Info& info, nlohmann::json& json) {
  const auto channel = Connect(address, options.access, interrupts);
  json[name] = {{"address", address}, {"health", HealthName(Health::kUnreachable)}};
  if (!channel.ok()) {
    return options.json ? kExitUnreachable : ReportFailure(channel.status(), false);
  }
  const Health health = CheckHealth(*channel, kConnectLimit);
  grpc::ClientContext context;
  SetDeadline(context, kConnectLimit);
  const grpc::Status status = call(*channel, context, info);
  if (!options.json) {
    std::cout << name << " at " << address << ": " << HealthName(health) << std::endl;
    if (!status.ok()) return ReportCallFailure(status, false);
    std::ostringstream text;
    print(info, text);
    const absl::Status shown = PrintAnswer(text.str());
    return shown.ok() ? kExitOk : ReportFailure(shown, false);
  }
  json[name]["health"] = HealthName(health);
  google::protobuf::util::JsonPrintOptions print_options;
  print_options.preserve_proto_field_names = true;
  print_options.always_print_primitive_fields = true;
  std::string text;
  if (!status.ok() || !MessageToJsonString(info, &text, print_options).ok()) return kExitFailed;
  json[name]["info"] = nlohmann::json::parse(text);
  return kExitOk;
}

// Whether the encoder's rows are of use to the decoder. FAILED_PRECONDITION: they are another
// model's.
absl::Status CheckServices(const v1::GetDecoderInfoResponse& decoder,
                           const v1::GetEncoderInfoResponse& encoder) {
  RETURN_IF_ERROR(
      CheckWidths({.name = decoder.model_name(), .width = static_cast<int>(decoder.dim())},
                  {.name = encoder.model_name(), .width = static_cast<int>(encoder.dim())}));
  if (decoder.encoder_fingerprint().empty() ||
      decoder.encoder_fingerprint() == encoder.encoder_fingerprint()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the decoder (", PrintableText(decoder.model_name()),
                   ") takes rows of another encoder than this one (",
                   PrintableText(encoder.model_name()), "): their fingerprints differ"));
}

int RunInfo(const InfoOptions& options, Interrupts& interrupts) {
  nlohmann::json json;
  v1::GetDecoderInfoResponse decoder;
  v1::GetEncoderInfoResponse encoder;
  int exit_code = Describe<v1::GetDecoderInfoResponse>(
      "decoder", options.server, interrupts, options,
      [](const auto& channel, auto& context, auto& info) {
        return v1::DecoderService::NewStub(channel)->GetDecoderInfo(&context, {}, &info);
      },
      PrintDecoder, decoder, json);
  const bool alone = exit_code == kExitOk && decoder.encoders().empty() && !options.encoder_asked;
  if (!alone) {
    const int of_encoder = Describe<v1::GetEncoderInfoResponse>(
        "encoder", options.encoder, interrupts, options,
        [](const auto& channel, auto& context, auto& info) {
          return v1::EncoderService::NewStub(channel)->GetEncoderInfo(&context, {}, &info);
        },
        PrintEncoder, encoder, json);
    if (exit_code == kExitOk) exit_code = of_encoder;
    if (exit_code == kExitOk) {
      const absl::Status pair = CheckServices(decoder, encoder);
      if (!pair.ok()) {
        json["error"] = std::string(pair.message());
        exit_code = options.json ? kExitFailed : ReportFailure(pair, false);
      }
    }
  } else if (!options.json) {
    std::cout << "  encoder      none: text only\n";
  }
  if (options.json) std::cout << json.dump() << std::endl;
  return exit_code;
}

}  // namespace

void AddInfo(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* info = app.add_subcommand("info", "What both services are, their health and their load");
  const auto options = std::make_shared<InfoOptions>();
  AddServer(*info, options->server);
  auto* encoder = AddEncoder(*info, options->encoder);
  AddAccess(*info, options->access);
  info->add_flag("--json", options->json, "One JSON object on stdout");
  info->footer(R"(
Examples:
  softsplice info
  softsplice info --server localhost:50052 --encoder localhost:50051 --json

Exits with 3 when either can't be reached, with 1 when the encoder is of another model than the
decoder. A decoder without an encoder is described alone, unless --encoder names one.)");
  info->callback([=, &interrupts, &exit_code] {
    options->encoder_asked = encoder->count() > 0;
    exit_code = RunInfo(*options, interrupts);
  });
}

}  // namespace softsplice
