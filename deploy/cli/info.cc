#include "deploy/cli/info.h"

#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/text/bytes.h"
#include "deploy/cli/client.h"
#include "deploy/cli/options.h"
#include "softsplice/v1/decoder.grpc.pb.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

struct InfoOptions {
  std::string server;
  std::string encoder;
  Access access;
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
void PrintDevices(const Info& info) {
  for (const v1::Device& device : info.devices()) {
    std::cout << "  device " << absl::StrFormat("%-5d ", device.index()) << device.name()
              << ", the model takes " << BytesForPeople(device.model_bytes()) << " (weights "
              << BytesForPeople(device.weights_bytes());
    if (device.cache_bytes() > 0) {
      std::cout << ", keys and values " << BytesForPeople(device.cache_bytes());
    }
    std::cout << ", workspace " << BytesForPeople(device.workspace_bytes()) << "), "
              << BytesForPeople(device.free_bytes()) << " of "
              << BytesForPeople(device.total_bytes()) << " free\n";
  }
}

void PrintDecoder(const v1::GetDecoderInfoResponse& info) {
  const v1::DecoderLoad& load = info.load();
  std::cout << "  model        " << info.model_name() << ", width " << info.dim() << ", vocabulary "
            << info.vocabulary_size() << "\n"
            << "  context      " << info.context_length() << " tokens, " << info.max_sequences()
            << " requests at once\n"
            << "  runs on      " << info.backend() << " (version " << info.version() << ")\n";
  PrintDevices(info);
  std::cout << "  load         " << load.running() << " running, " << load.queued() << " waiting, "
            << load.sessions() << " sessions, KV cache " << Mebibytes(load.kv_bytes_used())
            << " of " << Mebibytes(load.kv_bytes_total()) << "\n"
            << "  takes rows of " << Fingerprint(info.encoder_fingerprint()) << "\n";
  for (const v1::EncoderTarget& target : info.encoders()) {
    std::cout << "  encoder      " << (target.address().empty() ? target.name() : target.address())
              << ", " << (target.healthy() ? "healthy" : "not healthy") << ", "
              << target.in_flight() << " media in work\n";
    if (!target.reason().empty()) std::cout << "               " << target.reason() << "\n";
  }
}

void PrintEncoder(const v1::GetEncoderInfoResponse& info) {
  std::vector<std::string> takes;
  if (info.has_image_tower()) takes.push_back("pictures");
  if (info.has_audio_tower()) takes.push_back("sounds");
  const v1::EncoderLimits& limits = info.limits();
  std::vector<std::string> most = {Mebibytes(limits.max_media_bytes()) + " a file"};
  if (info.has_image_tower()) most.push_back(absl::StrCat(limits.max_image_pixels(), " pixels"));
  if (info.has_audio_tower()) {
    most.push_back(absl::StrCat(limits.max_audio_duration().seconds(), " s of sound"));
  }
  most.push_back(absl::StrCat(limits.max_queue(), " waiting"));
  std::cout << "  model        " << info.model_name() << ", width " << info.dim() << ", for "
            << absl::StrJoin(takes, " and ") << "\n"
            << "  limits       " << absl::StrJoin(most, ", ") << "\n"
            << "  runs on      " << info.backend() << " (version " << info.version() << ")\n";
  PrintDevices(info);
  std::cout << "  load         " << info.load().encoding() << " encoding, " << info.load().queued()
            << " waiting\n";
  if (limits.cache_bytes() > 0) {
    std::cout << "  cache        " << Mebibytes(info.load().cache_bytes()) << " of "
              << Mebibytes(limits.cache_bytes()) << ", " << info.load().cache_hits() << " hits, "
              << info.load().cache_misses() << " misses\n";
  }
  std::cout << "  fingerprint  " << Fingerprint(info.encoder_fingerprint()) << "\n";
}

// One service: connects, asks `call(channel, context, info)`, and prints, or with --json adds to
// `json`. Returns an exit code.
template <typename Info, typename Call>
int Describe(const char* name, const std::string& address, Interrupts& interrupts,
             const InfoOptions& options, Call call, void (*print)(const Info&),
             nlohmann::json& json) {
  const auto channel = Connect(address, options.access, interrupts);
  json[name] = {{"address", address}, {"health", HealthName(Health::kUnreachable)}};
  if (!channel.ok()) {
    return options.json ? kExitUnreachable : ReportFailure(channel.status(), false);
  }
  const Health health = CheckHealth(*channel, kConnectLimit);
  grpc::ClientContext context;
  SetDeadline(context, kConnectLimit);
  Info info;
  const grpc::Status status = call(*channel, context, info);
  if (!options.json) {
    std::cout << name << " at " << address << ": " << HealthName(health) << std::endl;
    if (!status.ok()) return ReportCallFailure(status, false);
    print(info);
    return kExitOk;
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

int RunInfo(const InfoOptions& options, Interrupts& interrupts) {
  nlohmann::json json;
  const int decoder = Describe<v1::GetDecoderInfoResponse>(
      "decoder", options.server, interrupts, options,
      [](const auto& channel, auto& context, auto& info) {
        return v1::DecoderService::NewStub(channel)->GetDecoderInfo(&context, {}, &info);
      },
      PrintDecoder, json);
  const int encoder = Describe<v1::GetEncoderInfoResponse>(
      "encoder", options.encoder, interrupts, options,
      [](const auto& channel, auto& context, auto& info) {
        return v1::EncoderService::NewStub(channel)->GetEncoderInfo(&context, {}, &info);
      },
      PrintEncoder, json);
  if (options.json) std::cout << json.dump() << std::endl;
  return decoder != kExitOk ? decoder : encoder;
}

}  // namespace

void AddInfo(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* info = app.add_subcommand("info", "What both services are, their health and their load");
  const auto options = std::make_shared<InfoOptions>();
  AddServer(*info, options->server);
  AddEncoder(*info, options->encoder);
  AddAccess(*info, options->access);
  info->add_flag("--json", options->json, "One JSON object on stdout");
  info->footer(R"(
Examples:
  softsplice info
  softsplice info --server localhost:50052 --encoder localhost:50051 --json

Exits with 3 when either can't be reached.)");
  info->callback([=, &interrupts, &exit_code] { exit_code = RunInfo(*options, interrupts); });
}

}  // namespace softsplice
