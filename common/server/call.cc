#include "common/server/call.h"

#include <grpc/support/time.h>

#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/text/utf8.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

std::string Header(const grpc::CallbackServerContext& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(name);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

// By gRPC's own clock, a steady one.
absl::Duration TimeLeft(const grpc::CallbackServerContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
    return absl::InfiniteDuration();
  }
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  return absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

// Messages of these are ours alone; others may quote the request.
bool MayLogMessage(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnavailable ||
         code == absl::StatusCode::kDeadlineExceeded || code == absl::StatusCode::kUnknown;
}

LogLevel LevelOf(absl::StatusCode code) {
  if (code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown) {
    return LogLevel::kError;
  }
  return code == absl::StatusCode::kUnavailable ? LogLevel::kWarning : LogLevel::kInfo;
}

}  // namespace

bool IsSaneRequestId(absl::string_view id) {
  if (id.empty() || id.size() > 64) return false;
  for (const char c : id) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

bool IsSaneTraceparent(absl::string_view value) {
  if (value.size() != 55 || value.substr(0, 3) != "00-") return false;
  for (size_t i = 3; i < value.size(); ++i) {
    const bool dash = i == 35 || i == 52;
    const char c = value[i];
    if (dash ? c != '-' : !(absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

std::string HostOf(absl::string_view peer) {
  if (absl::StartsWith(peer, "unix")) return "unix";
  const size_t scheme = peer.find(':'), port = peer.rfind(':');
  if (scheme == port) return std::string(peer);
  return std::string(peer.substr(scheme + 1, port - scheme - 1));
}

std::string Caller::Scope(absl::string_view salt) const {
  return name.empty() ? std::string(salt) : absl::StrCat(name.size(), ":", name, salt);
}

Call::Call(grpc::CallbackServerContext* context, const absl::StatusOr<std::string>& name,
           const Logger& logger, const CallMetrics& metrics, std::string service,
           std::string method)
    : context_(context),
      logger_(logger),
      metrics_(metrics),
      service_(std::move(service)),
      method_(std::move(method)),
      start_(SteadyNow()),
      deadline_(start_ + TimeLeft(*context)),
      admission_(name.status()),
      caller_({.name = name.ok() ? *name : "", .host = HostOf(context->peer())}),
      request_id_(Header(*context, kRequestIdHeader)),
      traceparent_(Header(*context, kTraceparentHeader)) {
  if (!IsSaneRequestId(request_id_)) {
    absl::BitGen random;
    request_id_ = absl::StrFormat("%016x", absl::Uniform<uint64_t>(random));
  }
  if (!IsSaneTraceparent(traceparent_)) traceparent_.clear();
}

absl::Duration Call::time_left() const { return deadline_ - SteadyNow(); }

absl::Duration Call::elapsed() const { return SteadyNow() - start_; }

void Call::Accept() {
  accepted_ = true;
  context_->AddInitialMetadata(kRequestIdHeader, request_id_);
}

grpc::Status Call::End(const absl::Status& status, LogLevel level) {
  std::vector<LogField> fields = {{"service", service_},
                                  {"method", method_},
                                  {"request_id", request_id_},
                                  {"code", absl::StatusCodeToString(status.code())}};
  if (!caller_.name.empty()) fields.push_back({"caller", ToUtf8(caller_.name)});
  if (!traceparent_.empty()) fields.push_back({"trace_id", traceparent_.substr(3, 32)});
  const ErrorDetail detail = GetErrorDetail(status);
  if (!detail.reason.empty()) fields.push_back({"reason", detail.reason});
  if (!detail.field.empty()) fields.push_back({"field", detail.field});
  if (MayLogMessage(status.code())) fields.push_back({"message", std::string(status.message())});
  const absl::Duration took = elapsed();
  metrics_.OnEnd(method_, status.code(), detail.reason, took);
  fields.push_back(DurationField("duration", took));
  fields.insert(fields.end(), fields_.begin(), fields_.end());
  logger_.Log(status.ok() ? level : LevelOf(status.code()), "call", fields);
  // Initial metadata, even with nothing but this in them, would tell a retry policy that the call
  // was taken.
  if (!accepted_) context_->AddTrailingMetadata(kRequestIdHeader, request_id_);
  if (!status.ok()) {
    const bool later = detail.retry_after > absl::ZeroDuration();
    context_->AddTrailingMetadata(
        kPushbackHeader, absl::StrCat(later ? absl::ToInt64Milliseconds(detail.retry_after) : -1));
  }
  return ToGrpcStatus(status);
}

}  // namespace softsplice
