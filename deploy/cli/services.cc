#include "deploy/cli/services.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/status/macros.h"
#include "deploy/cli/client.h"
#include "deploy/cli/terminal.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {
namespace {

// More than a service takes to finish its running requests.
constexpr absl::Duration kStopGrace = absl::Seconds(25);
constexpr int kLogTailLines = 12;

absl::StatusOr<std::string> MakeRunFolder() {
  ASSIGN_OR_RETURN(std::string path, RuntimeDirectory());
  path += "/run-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("can't make the folder ", path));
  }
  return path;
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
  std::unique_ptr<Services> services(new Services(interrupts));
  RETURN_IF_ERROR(services->Launch(options));
  Progress progress(absl::StrCat("loading ",
                                 std::filesystem::path(options.mmproj).filename().string(), " and ",
                                 std::filesystem::path(options.model).filename().string()));
  RETURN_IF_ERROR(services->WaitUntilServing(services->encoder_));
  RETURN_IF_ERROR(services->WaitUntilServing(services->decoder_));
  RETURN_IF_ERROR(services->WaitUntilPaired());
  return services;
}

Services::~Services() {
  interrupts_.Clear();
  for (Service* service : {&decoder_, &encoder_}) {
    if (service->child != nullptr) {
      // After SIGTERM the signal stays raised: then the services get their grace all the same.
      const bool terminated = interrupts_.terminated();
      service->child->Stop(kStopGrace, [&] { return !terminated && interrupts_.raised(); });
    }
  }
  std::error_code error;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
}

absl::Status Services::Launch(const ServicesOptions& options) {
  ASSIGN_OR_RETURN(folder_, MakeRunFolder());
  const auto address = [&](const std::string& asked, const char* socket) {
    return asked.empty() ? absl::StrCat("unix:", folder_, "/", socket) : asked;
  };
  encoder_.address = address(options.encoder_listen, "encoder.sock");
  decoder_.address = address(options.listen, "decoder.sock");
  RETURN_IF_ERROR(CheckFree(encoder_.address, interrupts_));
  RETURN_IF_ERROR(CheckFree(decoder_.address, interrupts_));

  std::vector<std::string> encoder = {"--mmproj", options.mmproj, "--listen", encoder_.address};
  std::vector<std::string> decoder = {"--model",        options.model, "--encoder",
                                      encoder_.address, "--listen",    decoder_.address};
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
  RETURN_IF_ERROR(Run(encoder_, std::move(encoder), options.verbose));
  return Run(decoder_, std::move(decoder), options.verbose);
}

absl::Status Services::Run(Service& service, std::vector<std::string> arguments, bool verbose) {
  arguments.insert(arguments.begin(), BesideThisProgram(service.name));
  const std::string log = verbose ? "" : absl::StrCat(folder_, "/", service.name, ".log");
  ASSIGN_OR_RETURN(service.child, Child::Start(arguments, log));
  return absl::OkStatus();
}

absl::Status Services::WaitUntilServing(const Service& service) {
  return WaitUntil([&] {
    return CheckHealth(*OpenChannel(service.address), absl::Seconds(1)) == Health::kServing;
  });
}

// An encoder that loads for longer than the decoder is not there when that one looks first.
absl::Status Services::WaitUntilPaired() {
  const auto stub = v1::DecoderService::NewStub(*OpenChannel(decoder_.address));
  return WaitUntil([&] {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(1));
    v1::GetDecoderInfoResponse info;
    return stub->GetDecoderInfo(&context, {}, &info).ok() && info.encoders_size() > 0 &&
           info.encoders(0).healthy();
  });
}

absl::Status Services::WaitUntil(absl::FunctionRef<bool()> done) {
  while (!done()) {
    RETURN_IF_ERROR(Check());
    if (interrupts_.raised()) return absl::CancelledError("interrupted");
    absl::SleepFor(absl::Milliseconds(30));
  }
  return Check();
}

absl::Status Services::Check() {
  for (const Service* service : {&encoder_, &decoder_}) {
    if (service->child->Running()) continue;
    const std::string tail = service->child->LogTail(kLogTailLines);
    return absl::FailedPreconditionError(
        absl::StrCat(service->name, " ", service->child->EndText(),
                     tail.empty() ? "" : "; the last lines of its log:\n", tail));
  }
  return absl::OkStatus();
}

}  // namespace softsplice
