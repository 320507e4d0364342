#include "common/server/grpc_log.h"

#include <grpc/support/log.h>

#include <atomic>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace softsplice {
namespace {

// gRPC takes a plain function: it has to find the logger here.
std::atomic<const Logger*> grpc_logger = nullptr;

// What gRPC takes for errors, and is none of ours. A name that does not fit is told to whom asked
// for it; the self-check did not. Whoever reaches the port can fail a handshake.
LogLevel LevelOf(gpr_log_severity severity, absl::string_view message) {
  if (absl::StartsWith(message, "No match found for server name")) return LogLevel::kDebug;
  if (absl::StartsWith(message, "Handshake failed")) return LogLevel::kInfo;
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
  logger->Log(LevelOf(args->severity, args->message), "grpc",
              {{"message", std::string(args->message)}});
}

}  // namespace

void SetGrpcLogger(const Logger* logger) {
  grpc_logger = logger;
  gpr_set_log_function(OnMessage);
}

}  // namespace softsplice
