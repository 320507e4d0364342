// One call to a service: what identifies it, and its one line in the log.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "common/server/call_metrics.h"

namespace softsplice {

inline constexpr char kRequestIdHeader[] = "x-request-id";
inline constexpr char kTraceparentHeader[] = "traceparent";
// Tells a client's retry policy when to try again, in milliseconds, or (-1) not to.
inline constexpr char kPushbackHeader[] = "grpc-retry-pushback-ms";

// 1 to 64 letters, digits, '.', '_' and '-'.
bool IsSaneRequestId(absl::string_view id);
// W3C Trace Context, version 00.
bool IsSaneTraceparent(absl::string_view value);

// The host of what gRPC calls a peer: "ipv4:10.0.0.7:5123" is of 10.0.0.7. Peers on unix sockets
// are of one host.
std::string HostOf(absl::string_view peer);

// Whose call it is.
struct Caller {
  std::string name;  // as the gate has it: then everybody has one; empty: it asks for none
  std::string host;

  // Whom turns and quotas go by.
  const std::string& key() const { return name.empty() ? host : name; }
  // Who shares what with whom: those of one name that give the same salt.
  std::string Scope(absl::string_view salt) const;
};

// Lives as long as the call's reactor; not thread-safe. `logger` and `metrics` must outlive it,
// `context` until the status that End gave was sent.
class Call {
 public:
  // Takes the client's request id, if it is sane, or makes one. `name`: the caller's, or why it may
  // not call.
  Call(grpc::CallbackServerContext* context, const absl::StatusOr<std::string>& name,
       const Logger& logger, const CallMetrics& metrics, std::string service, std::string method);

  const std::string& request_id() const { return request_id_; }
  const std::string& traceparent() const { return traceparent_; }  // empty: none came
  // Not OK: the caller may not call.
  const absl::Status& admission() const { return admission_; }
  const Caller& caller() const { return caller_; }
  absl::Duration elapsed() const;
  // The caller's: SteadyNow() then, so that nobody who sets the wall clock ends a request.
  absl::Duration deadline() const { return deadline_; }
  absl::Duration time_left() const;

  // One more field of the log line.
  void Note(LogField field) { fields_.push_back(std::move(field)); }
  // The initial metadata are about to be sent: the call is taken, and no retry policy repeats it.
  void Accept();
  // The client cancelled the call, or its connection ended, or the deadline has passed.
  bool gone() const { return context_->IsCancelled(); }
  // Ends the call at once, whatever is under way; the client is not told the end.
  void Abort() { context_->TryCancel(); }
  // Counts it, writes the log line (of a success, at `level`) and returns what the client gets,
  // trailing metadata included. Call it once, at the end.
  grpc::Status End(const absl::Status& status, LogLevel level);

 private:
  grpc::CallbackServerContext* const context_;
  const Logger& logger_;
  const CallMetrics& metrics_;
  const std::string service_;
  const std::string method_;
  const absl::Duration start_;  // of SteadyNow
  const absl::Duration deadline_;
  const absl::Status admission_;
  const Caller caller_;  // kept: when the call has ended gRPC no longer knows its peer
  std::string request_id_;
  std::string traceparent_;
  bool accepted_ = false;
  std::vector<LogField> fields_;
};

}  // namespace softsplice
