#include "common/server/grpc_log.h"

#include <grpc/support/log.h>

#include <atomic>
#include <string>

namespace softsplice {
namespace {

// gRPC takes a plain function: it has to find the logger here.
std::atomic<const Logger*> grpc_logger = nullptr;

LogLevel LevelOf(gpr_log_severity severity) {
  switch (severity) {
    case GPR_LOG_SEVERITY_DEBUG:
      return LogLevel::kDebug;
    case GPR_LOG_SEVERITY_INFO:
      return LogLevel::kInfo;
    default:
      return LogLevel::kError;
  }
}

void OnMessage(gpr_log_func_args* args) {
  const Logger* logger = grpc_logger.load();
  if (logger == nullptr) return;
  logger->Log(LevelOf(args->severity), "grpc", {{"message", std::string(args->message)}});
}

}  // namespace

void SetGrpcLogger(const Logger* logger) {
  grpc_logger = logger;
  gpr_set_log_function(OnMessage);
}

}  // namespace softsplice
