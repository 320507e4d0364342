// The errors that a client or a file can cause: an absl::Status with a machine-readable reason, the
// field at fault and, when waiting helps, a delay. common/server turns them into gRPC statuses with
// google.rpc details.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace softsplice {

struct ErrorDetail {
  std::string reason;  // UPPER_SNAKE_CASE, stable: clients may switch on it. Empty: the status
                       // carries no detail.
  std::string
      field;  // path of the request field at fault, for example "chat.messages[0].parts[1].media"
  absl::Duration retry_after =
      absl::ZeroDuration();  // zero: retrying the same request does not help
  std::string endpoint;      // who can help instead
};

// A status of `code` with `message`, which names the field, the value and the limit. `code` is not
// OK.
absl::Status MakeError(absl::StatusCode code, absl::string_view message, const ErrorDetail& detail);

// The detail that MakeError attached; an empty one if there is none.
ErrorDetail GetErrorDetail(const absl::Status& status);

// `status` with "prefix: " in front of its message and `field` in front of its field path; OK stays
// OK.
absl::Status Annotate(const absl::Status& status, absl::string_view prefix,
                      absl::string_view field = "");

// The common cases.
absl::Status InvalidField(absl::string_view field,
                          absl::string_view message);  // INVALID_ARGUMENT, INVALID_FIELD
absl::Status InvalidMedia(absl::string_view message);  // INVALID_ARGUMENT, INVALID_MEDIA
absl::Status OverLimit(absl::string_view field,
                       absl::string_view message);  // RESOURCE_EXHAUSTED, OVER_LIMIT
absl::Status InvalidFile(absl::string_view path,
                         absl::string_view message);  // FAILED_PRECONDITION, INVALID_FILE
absl::Status OutOfMemory(
    absl::string_view message);  // RESOURCE_EXHAUSTED, OUT_OF_MEMORY, retry after a second
absl::Status RankFailed(
    absl::string_view message);  // UNAVAILABLE, RANK_FAILED, retry after a second

}  // namespace softsplice
