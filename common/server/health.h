// The standard health service, grpc.health.v1: what probes, proxies and clients ask. Its own and
// not gRPC's, so that answers depend on nothing that clients can fill, and watches end in a drain.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace softsplice {

// Besides "" (the process) and the services: whether the engine shows signs of life. It stays
// SERVING while the process drains or merely has much to do.
inline constexpr char kLivenessName[] = "liveness";

// Thread-safe; outlives the gRPC server.
class Health {
 public:
  // `services`: full names. All are NOT_SERVING but `liveness`.
  explicit Health(const std::vector<std::string>& services);
  ~Health();

  grpc::Service& service();

  // What "" and the services are, and what `liveness` is, from now on.
  void SetServing(bool serving);
  void SetAlive(bool alive);

  // Ends every Watch, and each that comes, once it was told how things are. Waits for those that
  // are there, `limit` at most: a client may not read.
  void EndWatches(absl::Duration limit);
  // Ends calls whose request does not come. To be called about once a second.
  void EndSlowCalls();

 private:
  class Service;
  const std::unique_ptr<Service> service_;
};

}  // namespace softsplice
