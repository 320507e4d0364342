// One call to a service: what identifies it, and its one line in the log.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/log/log.h"

namespace softsplice {

inline constexpr char kRequestIdHeader[] = "x-request-id";
inline constexpr char kTraceparentHeader[] = "traceparent";

// 1 to 64 letters, digits, '.', '_' and '-'.
bool IsSaneRequestId(absl::string_view id);
// W3C Trace Context, version 00.
bool IsSaneTraceparent(absl::string_view value);

// Lives as long as the call's reactor; not thread-safe. `logger` must outlive it.
class Call {
 public:
  // Takes the client's request id, if it is sane, or makes one, and sends it in the initial
  // metadata.
  Call(grpc::CallbackServerContext* context, const Logger& logger, std::string service,
       std::string method);

  const std::string& request_id() const { return request_id_; }
  const std::string& traceparent() const { return traceparent_; }  // empty: none came
  absl::Time start() const { return start_; }
  absl::Time deadline() const { return deadline_; }

  // One more field of the log line.
  void Note(LogField field) { fields_.push_back(std::move(field)); }
  // Writes the log line and returns what the client gets. Call it once, at the end.
  grpc::Status End(const absl::Status& status);

 private:
  const Logger& logger_;
  const std::string service_;
  const std::string method_;
  const absl::Time start_;
  absl::Time deadline_;
  std::string request_id_;
  std::string traceparent_;
  std::vector<LogField> fields_;
};

}  // namespace softsplice
