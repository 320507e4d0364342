#include "deploy/cli/client.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"
#include "deploy/cli/terminal.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace softsplice {
namespace {

std::string CodeName(int code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

std::string Hint(const Failure& failure) {
  if (failure.retry_seconds > 0) {
    return absl::StrCat("the server is busy; try again in ", failure.retry_seconds, " s");
  }
  if (failure.code == "UNAVAILABLE") {
    return "`softsplice info` shows which service is not ready";
  }
  if (failure.code == "UNAUTHENTICATED") {
    return "give a token that the service knows with --token-file, or a certificate with --cert";
  }
  if (failure.code == "UNIMPLEMENTED") {
    return "the server may be the other service (encoder or decoder), or of another version";
  }
  if (failure.code == "OUT_OF_RANGE") {
    return "shorten the prompt or its sounds, give pictures a smaller --budget or videos fewer "
           "--frames, or start `softsplice up` with a larger --context";
  }
  if (absl::StrContains(failure.message, "without_sound")) {
    return "--no-sound leaves the sound of videos out";
  }
  if (failure.reason == "NO_ENCODER") {
    return "pictures, sounds and videos need an encoder: start `softsplice up` with --mmproj";
  }
  if (failure.code == "FAILED_PRECONDITION" && absl::StrContains(failure.field, "soft_tokens")) {
    return "soft tokens only fit the model whose encoder made them: make them again with "
           "`softsplice encode`";
  }
  return "";
}

int Report(const Failure& failure, const std::string& hint, bool json, int exit_code) {
  if (json) {
    nlohmann::json error = {{"code", failure.code}, {"message", failure.message}};
    if (!failure.reason.empty()) error["reason"] = failure.reason;
    if (!failure.field.empty()) error["field"] = failure.field;
    if (failure.retry_seconds > 0) error["retry_seconds"] = failure.retry_seconds;
    if (!hint.empty()) error["hint"] = hint;
    std::cout << nlohmann::json({{"error", error}})
                     .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)
              << std::endl;
    return exit_code;
  }
  PrintMessage(absl::StrCat(failure.code, ": ", PrintableText(failure.message)));
  if (!failure.field.empty()) std::cerr << "  field: " << PrintableText(failure.field) << "\n";
  if (!failure.reason.empty()) std::cerr << "  reason: " << PrintableText(failure.reason) << "\n";
  if (!hint.empty()) std::cerr << "  hint: " << hint << "\n";
  std::cerr << std::flush;
  return exit_code;
}

std::string RuntimePath() {
  const char* base = getenv("XDG_RUNTIME_DIR");
  return base != nullptr && *base == '/' ? absl::StrCat(base, "/softsplice")
                                         : absl::StrCat("/tmp/softsplice-", getuid());
}

std::string DefaultAddress(const char* variable, const std::string& socket, const char* fallback) {
  const char* set = getenv(variable);
  if (set != nullptr && *set != '\0') return set;
  const std::string path(absl::StripPrefix(socket, "unix:"));
  return access(path.c_str(), F_OK) == 0 ? socket : fallback;
}

}  // namespace

absl::StatusOr<std::string> RuntimeDirectory() {
  const std::string path = RuntimePath();
  mkdir(path.c_str(), 0700);
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("can't make the folder ", path));
  }
  if (info.st_uid != getuid() || (info.st_mode & 0022) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the folder ", path, " is open to other users; remove it"));
  }
  return path;
}

std::string DecoderSocket() { return absl::StrCat("unix:", RuntimePath(), "/decoder.sock"); }
std::string EncoderSocket() { return absl::StrCat("unix:", RuntimePath(), "/encoder.sock"); }

std::string DefaultDecoderAddress() {
  return DefaultAddress("SOFTSPLICE_SERVER", DecoderSocket(), "localhost:50052");
}

std::string DefaultEncoderAddress() {
  return DefaultAddress("SOFTSPLICE_ENCODER", EncoderSocket(), "localhost:50051");
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address,
                                                       const Access& access, Interrupts& interrupts,
                                                       absl::Duration limit) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, OpenChannel(address, access));
  const absl::Time deadline = absl::Now() + limit;
  grpc_connectivity_state state = channel->GetState(true);
  while (state != GRPC_CHANNEL_READY && absl::Now() < deadline) {
    if (interrupts.raised()) return absl::CancelledError("interrupted");
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) {
      return WhyUnreachable(address, access);
    }
    const absl::Time tick = std::min(deadline, absl::Now() + absl::Milliseconds(50));
    channel->WaitForStateChange(state, absl::ToChronoTime(tick));
    state = channel->GetState(true);
  }
  if (state == GRPC_CHANNEL_READY) return channel;
  return absl::UnavailableError(
      absl::StrCat("no answer from ", address, " within ", absl::FormatDuration(limit)));
}

Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel, absl::Duration limit) {
  grpc::ClientContext context;
  SetDeadline(context, limit);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(channel)->Check(&context, {}, &response);
  if (!status.ok()) return Health::kUnreachable;
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING ? Health::kServing
                                                                             : Health::kNotServing;
}

void SetDeadline(grpc::ClientContext& context, absl::Duration limit) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
}

Failure ReadFailure(const grpc::Status& status) {
  Failure failure = {.code = CodeName(status.error_code()), .message = status.error_message()};
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return failure;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest request;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) failure.reason = info.reason();
    if (detail.UnpackTo(&request) && request.field_violations_size() > 0) {
      failure.field = request.field_violations(0).field();
    }
    if (detail.UnpackTo(&retry)) {
      failure.retry_seconds =
          static_cast<double>(retry.retry_delay().seconds()) + 1e-9 * retry.retry_delay().nanos();
    }
  }
  return failure;
}

int ReportCallFailure(const grpc::Status& status, bool json) {
  const Failure failure = ReadFailure(status);
  return Report(failure, Hint(failure), json, kExitFailed);
}

int ReportFailure(const absl::Status& status, bool json) {
  if (absl::IsCancelled(status)) return kExitInterrupted;
  const Failure failure = {.code = CodeName(static_cast<int>(status.code())),
                           .message = std::string(status.message())};
  if (!absl::IsUnavailable(status)) return Report(failure, Hint(failure), json, kExitFailed);
  return Report(failure,
                "start the services with `softsplice up --model TEXT.gguf --mmproj MMPROJ.gguf`, "
                "or name a running one with --server or --encoder",
                json, kExitUnreachable);
}

}  // namespace softsplice
