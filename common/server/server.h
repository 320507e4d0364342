// A gRPC server as both services run it: one listener, health, reflection, limits, drain.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/log/log.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace softsplice {

struct ServerOptions {
  std::string listen;                // host:port (port 0: a free one) or unix:PATH
  int max_request_bytes = 64 << 20;  // of one message
  absl::Duration max_connection_age = absl::Minutes(30);  // zero: no limit
  absl::Duration drain = absl::Seconds(20);
};

// A service and its full name.
struct NamedService {
  std::string name;
  std::shared_ptr<grpc::Service> service;
};

class Server {
 public:
  // Listens and answers; health says SERVING for "" and every service. ALREADY_EXISTS: the address
  // is taken; FAILED_PRECONDITION or INVALID_ARGUMENT: it can't be used.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       std::vector<NamedService> services);
  ~Server();

  // Where it listens, the port filled in.
  const std::string& address() const { return address_; }

  // What the health service says from now on.
  void SetServing(bool serving);

  // Says NOT_SERVING, takes no new calls, lets those that run end by `deadline`, then cancels them;
  // returns when all have ended. Idempotent.
  void Shutdown(absl::Time deadline);

 private:
  Server() = default;

  std::string address_;
  std::vector<NamedService> services_;
  std::vector<std::unique_ptr<grpc::Service>> reflection_;
  std::unique_ptr<grpc::Server> server_;
};

// The rest of a server's main program: logs that `server` is ready, keeps health equal to
// `healthy()` (asked every second), and after SIGTERM or SIGINT drains and returns.
class StopSignal;
void ServeUntilStopped(Server& server, StopSignal& stop, const ServerOptions& options,
                       const Logger& logger, const std::function<bool()>& healthy);

}  // namespace softsplice
