// A gRPC server as both services run it: one listener, health, reflection, limits, drain.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/server/border.h"
#include "common/server/health.h"
#include "common/server/listener.h"

namespace grpc {
class Server;
class Service;
namespace experimental {
class ExternalConnectionAcceptor;
}  // namespace experimental
}  // namespace grpc

namespace softsplice {

// Descriptors that no connection gets: for files, the encoders' connections, gRPC's own.
inline constexpr size_t kOtherDescriptors = 64;

struct ServerOptions {
  std::string listen;          // host:port (port 0: a free one) or unix:PATH
  int max_connections = 4096;  // fewer if the process may not have as many descriptors
  absl::Duration max_connection_age = absl::Minutes(30);  // zero: no limit
  absl::Duration max_connection_idle = absl::Minutes(5);  // without a call
  bool reflection = true;
};

// A service and its full name.
struct NamedService {
  std::string name;
  std::shared_ptr<grpc::Service> service;
};

// Thread-safe but for Drain and the destructor.
class Server {
 public:
  // Listens and answers, as the border's gate says over TLS; health says SERVING for "", every
  // service and `liveness`. `border`, which outlives the server, is the one that the services'
  // calls pass. ALREADY_EXISTS: the address is taken; FAILED_PRECONDITION or INVALID_ARGUMENT: it
  // can't be used.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Border& border,
                                                       std::vector<NamedService> services);
  // Ends all calls; waits until nothing of the server's runs any more.
  ~Server();

  // Where it listens, the port filled in.
  const std::string& address() const { return address_; }
  Health& health() { return health_; }
  Border& border() { return border_; }
  const Border& border() const { return border_; }
  const Listener& listener() const { return *listener_; }

  // Health says NOT_SERVING; takes no more connections and calls, and asks clients to go; what only
  // waits ends at once. Running calls get `limit` to end, then they are told to, and get a moment
  // more. Idle connections and watches are not waited for. Returns when the border is idle, or
  // after all that. Idempotent.
  void Drain(absl::Duration limit);

 private:
  Server(Border& border, std::vector<NamedService> services);
  // Takes no more connections; tells those who ask for health.
  void Retire();
  // Once no call runs: lets clients go before gRPC is shut down.
  void ReleaseClients();
  // Asks the clients that are left to go.
  void Close();
  // Ends the connections that are left, and waits until no call runs any more: not before those of
  // the services heed their end.
  void Shutdown();

  std::string address_;
  Border& border_;
  const std::vector<NamedService> services_;
  Health health_;
  std::vector<std::unique_ptr<grpc::Service>> reflection_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Listener> listener_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  std::thread closing_;  // gRPC's shutdown, which waits for every connection
};

}  // namespace softsplice
