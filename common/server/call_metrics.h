// What is counted of every call to a service.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/server/metrics.h"

namespace google::protobuf {
class ServiceDescriptor;
}  // namespace google::protobuf

namespace softsplice {

// Thread-safe.
class CallMetrics {
 public:
  // `metrics` outlives it.
  CallMetrics(Metrics& metrics, const google::protobuf::ServiceDescriptor& service);

  // A call of one of the service's methods ended. `reason`: of the catalogue; may be empty.
  void OnEnd(const std::string& method, absl::StatusCode code, const std::string& reason,
             absl::Duration took) const;

 private:
  struct Method {
    Counters<absl::StatusCode> ends;
    prometheus::Histogram& duration;
  };

  std::map<std::string, Method> methods_;
  std::map<std::string, prometheus::Counter*> rejected_;  // by reason
};

}  // namespace softsplice
