// What every call of a process begins with, whatever service and method it is of.
#pragma once

#include <grpcpp/server_context.h>

#include <string>

#include "common/log/log.h"
#include "common/server/border.h"
#include "common/server/call.h"
#include "common/server/call_metrics.h"
#include "common/server/gate.h"
#include "common/workers/workers.h"

namespace softsplice {

// All of it outlives the services.
struct Calls {
  const Logger& logger;
  Border& border;
  Workers& workers;  // for what takes longer than gRPC's threads should be kept
  const CallMetrics& metrics;

  Call Begin(grpc::CallbackServerContext* context, const std::string& service,
             const std::string& method) const {
    return Call(context, Admit(border.gate(), *context), logger, metrics, service, method);
  }
};

}  // namespace softsplice
