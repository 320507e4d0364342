#include "common/server/call_metrics.h"

#include <google/protobuf/descriptor.h>

#include "common/status/reasons.h"

namespace softsplice {
namespace {

constexpr Family kRequests = {"softsplice_requests_total", "Calls that ended, by their gRPC code"};
constexpr Family kRejected = {"softsplice_requests_rejected_total",
                              "Calls refused before any work was done for them"};
constexpr Family kDuration = {"softsplice_request_duration_seconds",
                              "From a call's headers to its status", kCallEdges};

// By absl::StatusCode.
constexpr const char* kCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

struct Rejection {
  const char* reason;  // of the catalogue
  const char* label;
};
constexpr Rejection kRejections[] = {
    {reason::kQueueFull, "queue_full"}, {reason::kServerBusy, "server_busy"},
    {reason::kOverLimit, "too_large"},  {reason::kPromptTooLong, "too_large"},
    {reason::kDraining, "draining"},    {reason::kUnauthenticated, "unauthenticated"},
};

}  // namespace

CallMetrics::CallMetrics(Metrics& metrics, const google::protobuf::ServiceDescriptor& service) {
  for (int i = 0; i < service.method_count(); ++i) {
    const std::string& name = service.method(i)->name();
    const prometheus::Labels method = {{"method", name}};
    methods_.emplace(name,
                     Method{.ends = {metrics, kRequests, "code", kCodes, method},
                            .duration = metrics.Add<prometheus::Histogram>(kDuration, method)});
  }
  for (const Rejection& rejection : kRejections) {
    rejected_[rejection.reason] =
        &metrics.Add<prometheus::Counter>(kRejected, {{"reason", rejection.label}});
  }
}

void CallMetrics::OnEnd(const std::string& method, absl::StatusCode code, const std::string& reason,
                        absl::Duration took) const {
  const Method& of = methods_.at(method);
  of.ends[code].Increment();
  Observe(of.duration, took);
  if (const auto found = rejected_.find(reason); found != rejected_.end()) {
    found->second->Increment();
  }
}

}  // namespace softsplice
