#include "deploy/cli/services.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/status/macros.h"
#include "deploy/cli/client.h"
#include "deploy/cli/pair.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {
namespace {

// More than a service takes to finish its running requests.
constexpr absl::Duration kStopGrace = absl::Seconds(25);
constexpr int kLogTailLines = 12;

// How far a service says in its log that it has come: " (weights, 43 %)".
std::string LoadedPart(const Child& child) {
  std::string part;
  for (const absl::string_view line : absl::StrSplit(child.LogTail(kLogTailLines), '\n')) {
    const auto event = nlohmann::json::parse(line, nullptr, false);
    if (!event.is_object() || event.value("event", "") != "loading") continue;
    part = absl::StrCat(" (", event.value("stage", ""), ", ", event.value("percent", 0), " %)");
  }
  return part;
}

// Whether nobody could listen at both. `address` and `other` are HOST:PORT or unix:PATH.
bool Clash(const std::string& address, const std::string& other) {
  if (address == other) return true;
  if (absl::StartsWith(address, "unix:") || absl::StartsWith(other, "unix:")) {
    absl::string_view path = address, other_path = other;
    return absl::ConsumePrefix(&path, "unix:") && absl::ConsumePrefix(&other_path, "unix:") &&
           std::filesystem::absolute(std::string(path)).lexically_normal() ==
               std::filesystem::absolute(std::string(other_path)).lexically_normal();
  }
  const size_t port = address.rfind(':'), other_port = other.rfind(':');
  if (port == std::string::npos || other_port == std::string::npos ||
      address.substr(port) != other.substr(other_port)) {
    return false;
  }
  const auto is_wide = [](absl::string_view host) {
    return host == "0.0.0.0" || host == "[::]" || host.empty();
  };
  const auto is_here = [](absl::string_view host) {
    return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
  };
  const std::string host = address.substr(0, port), other_host = other.substr(0, other_port);
  return is_wide(host) || is_wide(other_host) || (is_here(host) && is_here(other_host));
}

absl::Status CheckApart(const std::string& decoder, const std::string& encoder) {
  if (!Clash(decoder, encoder)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--listen ", decoder, " and --encoder-listen ", encoder,
                   " are one address; each service needs its own"));
}

absl::Status CheckFree(const std::string& address, Interrupts& interrupts) {
  const auto channel = Connect(address, {}, interrupts, absl::Milliseconds(300));
  if (!channel.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("something serves at ", address, " already; `softsplice info` shows what"));
}

void AddDevices(const ServicesOptions& options, std::vector<std::string>* decoder,
                std::vector<std::string>* encoder) {
  if (options.tensor_parallel > 1) {
    decoder->insert(decoder->end(), {"--tensor-parallel", absl::StrCat(options.tensor_parallel)});
  }
  const auto& devices = options.devices;
  if (devices.empty()) return;
  const size_t decoders = std::min(static_cast<size_t>(options.tensor_parallel), devices.size());
  const size_t encoders = std::max<size_t>(devices.size() - decoders, 1);
  decoder->insert(decoder->end(),
                  {"--devices", absl::StrJoin(absl::MakeConstSpan(devices).first(decoders), ",")});
  encoder->insert(encoder->end(),
                  {"--devices", absl::StrJoin(absl::MakeConstSpan(devices).last(encoders), ",")});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Services>> Services::Start(const ServicesOptions& options,
                                                          Interrupts& interrupts) {
  if (!options.mmproj.empty()) RETURN_IF_ERROR(CheckPair(options.model, options.mmproj));
  std::unique_ptr<Services> services(new Services(interrupts));
  RETURN_IF_ERROR(services->Launch(options));
  RETURN_IF_ERROR(services->WaitUntilReady());
  return services;
}

Services::~Services() {
  interrupts_.Clear();
  for (Service* service : Started()) {
    // After SIGTERM the signal stays raised: then the services get their grace all the same.
    const bool terminated = interrupts_.terminated();
    service->child->Stop(kStopGrace, [&] { return !terminated && interrupts_.raised(); });
  }
}

absl::Status Services::Launch(const ServicesOptions& options) {
  ASSIGN_OR_RETURN(folder_, RunFolder::Make());
  const auto address = [&](const std::string& asked, const char* socket) {
    return asked.empty() ? absl::StrCat("unix:", folder_->path(), "/", socket) : asked;
  };
  const bool media = !options.mmproj.empty();
  decoder_.address = address(options.listen, "decoder.sock");
  decoder_.file = std::filesystem::path(options.model).filename().string();
  RETURN_IF_ERROR(CheckFree(decoder_.address, interrupts_));
  std::vector<std::string> encoder,
      decoder = {"--model", options.model, "--listen", decoder_.address};
  if (media) {
    encoder_.address = address(options.encoder_listen, "encoder.sock");
    encoder_.file = std::filesystem::path(options.mmproj).filename().string();
    RETURN_IF_ERROR(CheckApart(decoder_.address, encoder_.address));
    RETURN_IF_ERROR(CheckFree(encoder_.address, interrupts_));
    encoder = {"--mmproj", options.mmproj, "--listen", encoder_.address};
    decoder.insert(decoder.end(), {"--encoder", encoder_.address});
  }
  for (auto* arguments : {&encoder, &decoder}) {
    if (options.threads > 0) {
      arguments->insert(arguments->end(), {"--threads", absl::StrCat(options.threads)});
    }
    if (!options.backend.empty()) {
      arguments->insert(arguments->end(), {"--backend", options.backend});
    }
  }
  AddDevices(options, &decoder, &encoder);
  if (options.context > 0) {
    decoder.insert(decoder.end(), {"--context", absl::StrCat(options.context)});
  }
  if (media) RETURN_IF_ERROR(Run(encoder_, std::move(encoder), options.verbose));
  return Run(decoder_, std::move(decoder), options.verbose);
}

absl::Status Services::Run(Service& service, std::vector<std::string> arguments, bool verbose) {
  arguments.insert(arguments.begin(), BesideThisProgram(service.name));
  const std::string log = verbose ? "" : absl::StrCat(folder_->path(), "/", service.name, ".log");
  ASSIGN_OR_RETURN(service.child, Child::Start(arguments, log));
  return absl::OkStatus();
}

absl::Status Services::WaitUntilReady() {
  Progress progress(Loading());
  for (const Service* service : Started()) {
    RETURN_IF_ERROR(WaitUntil(
        [&] {
          return CheckHealth(*OpenChannel(service->address), absl::Seconds(1)) == Health::kServing;
        },
        progress));
  }
  if (encoder_.child == nullptr) return absl::OkStatus();
  // An encoder that loads for longer than the decoder is not there when that one looks first.
  const auto stub = v1::DecoderService::NewStub(*OpenChannel(decoder_.address));
  return WaitUntil(
      [&] {
        grpc::ClientContext context;
        SetDeadline(context, absl::Seconds(1));
        v1::GetDecoderInfoResponse info;
        return stub->GetDecoderInfo(&context, {}, &info).ok() && info.encoders_size() > 0 &&
               info.encoders(0).healthy();
      },
      progress);
}

absl::Status Services::WaitUntil(absl::FunctionRef<bool()> done, Progress& progress) {
  while (!done()) {
    RETURN_IF_ERROR(Check());
    if (interrupts_.raised()) return absl::CancelledError("interrupted");
    progress.Update(Loading());
    absl::SleepFor(absl::Milliseconds(30));
  }
  return Check();
}

std::string Services::Loading() {
  std::vector<std::string> files;
  for (const Service* service : Started()) {
    files.push_back(absl::StrCat(service->file, LoadedPart(*service->child)));
  }
  return absl::StrCat("loading ", absl::StrJoin(files, " and "));
}

// In the order in which they are stopped.
std::vector<Services::Service*> Services::Started() {
  std::vector<Service*> started;
  for (Service* service : {&decoder_, &encoder_}) {
    if (service->child != nullptr) started.push_back(service);
  }
  return started;
}

absl::Status Services::Check() {
  for (const Service* service : Started()) {
    if (service->child->Running()) continue;
    const std::string tail = service->child->LogTail(kLogTailLines);
    return absl::FailedPreconditionError(
        absl::StrCat(service->name, " ", service->child->EndText(),
                     tail.empty() ? "" : "; the last lines of its log:\n", tail));
  }
  return absl::OkStatus();
}

}  // namespace softsplice
