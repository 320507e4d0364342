#include "common/status/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

constexpr char kReason[] = "softsplice/reason";
constexpr char kField[] = "softsplice/field";
constexpr char kRetryMs[] = "softsplice/retry_ms";
constexpr char kEndpoint[] = "softsplice/endpoint";

std::string Payload(const absl::Status& status, const char* key) {
  const auto payload = status.GetPayload(key);
  return payload ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view message,
                       const ErrorDetail& detail) {
  absl::Status status(code, message);
  if (!detail.reason.empty()) status.SetPayload(kReason, absl::Cord(detail.reason));
  if (!detail.field.empty()) status.SetPayload(kField, absl::Cord(detail.field));
  if (!detail.endpoint.empty()) status.SetPayload(kEndpoint, absl::Cord(detail.endpoint));
  if (detail.retry_after > absl::ZeroDuration()) {
    status.SetPayload(kRetryMs,
                      absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(detail.retry_after))));
  }
  return status;
}

ErrorDetail GetErrorDetail(const absl::Status& status) {
  ErrorDetail detail{.reason = Payload(status, kReason),
                     .field = Payload(status, kField),
                     .endpoint = Payload(status, kEndpoint)};
  int64_t ms = 0;
  if (absl::SimpleAtoi(Payload(status, kRetryMs), &ms)) detail.retry_after = absl::Milliseconds(ms);
  return detail;
}

absl::Status Annotate(const absl::Status& status, absl::string_view prefix,
                      absl::string_view field) {
  if (status.ok()) return status;
  ErrorDetail detail = GetErrorDetail(status);
  if (!field.empty()) {
    detail.field =
        detail.field.empty() ? std::string(field) : absl::StrCat(field, ".", detail.field);
  }
  return MakeError(status.code(), absl::StrCat(prefix, ": ", status.message()), detail);
}

absl::Status InvalidField(absl::string_view field, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, message,
                   {.reason = reason::kInvalidField, .field = std::string(field)});
}

absl::Status InvalidMedia(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, message,
                   {.reason = reason::kInvalidMedia, .field = "data"});
}

absl::Status OverLimit(absl::string_view field, absl::string_view message) {
  return MakeError(absl::StatusCode::kResourceExhausted, message,
                   {.reason = reason::kOverLimit, .field = std::string(field)});
}

absl::Status InvalidFile(absl::string_view path, absl::string_view message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, ": ", message),
                   {.reason = reason::kInvalidFile});
}

absl::Status OutOfMemory(absl::string_view message) {
  return MakeError(absl::StatusCode::kResourceExhausted, message,
                   {.reason = reason::kOutOfMemory, .retry_after = absl::Seconds(1)});
}

absl::Status RankFailed(absl::string_view message) {
  return MakeError(absl::StatusCode::kUnavailable, message,
                   {.reason = reason::kRankFailed, .retry_after = absl::Seconds(1)});
}

}  // namespace softsplice
