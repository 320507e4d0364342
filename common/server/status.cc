#include "common/server/status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/server/duration.h"
#include "common/status/error.h"
#include "common/text/utf8.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace softsplice {
namespace {

constexpr char kDomain[] = "softsplice";
// The message goes on the wire three times, and clients take 8 KiB of headers by default.
constexpr size_t kMaxText = 1000;

// At most kMaxText bytes, cut between characters, and fit for a string field.
std::string Cut(absl::string_view bytes) {
  const std::string text = ToUtf8(bytes.substr(0, kMaxText + 4));
  if (text.size() <= kMaxText) return text;
  size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(absl::string_view(text).substr(0, end), "…");
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const ErrorDetail detail = GetErrorDetail(status);
  const std::string message = Cut(status.message());

  google::rpc::ErrorInfo info;
  info.set_reason(detail.reason.empty() ? absl::StatusCodeToString(status.code()) : detail.reason);
  info.set_domain(kDomain);
  if (!detail.endpoint.empty()) (*info.mutable_metadata())["endpoint"] = Cut(detail.endpoint);
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  details.add_details()->PackFrom(info);
  if (!detail.field.empty()) {
    google::rpc::BadRequest request;
    auto* violation = request.add_field_violations();
    violation->set_field(Cut(detail.field));
    violation->set_description(message);
    details.add_details()->PackFrom(request);
  }
  if (detail.retry_after > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    SetDuration(detail.retry_after, retry.mutable_retry_delay());
    details.add_details()->PackFrom(retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  ErrorDetail detail;
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest request;
    google::rpc::RetryInfo retry;
    for (const google::protobuf::Any& any : details.details()) {
      if (any.UnpackTo(&info) && info.domain() == kDomain) {
        detail.reason = info.reason();
        const auto endpoint = info.metadata().find("endpoint");
        if (endpoint != info.metadata().end()) detail.endpoint = endpoint->second;
      }
      if (any.UnpackTo(&request) && request.field_violations_size() > 0) {
        detail.field = request.field_violations(0).field();
      }
      if (any.UnpackTo(&retry)) {
        detail.retry_after = GetDuration(retry.retry_delay());
      }
    }
  }
  return MakeError(static_cast<absl::StatusCode>(status.error_code()), status.error_message(),
                   detail);
}

}  // namespace softsplice
