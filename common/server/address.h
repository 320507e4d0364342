// Addresses that a server listens on: host:port or unix:PATH.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/server/fd.h"

namespace softsplice {

// From where a server can be reached: this machine only, some networks, or all that the machine is
// in.
enum class Reach { kMachine, kNetwork, kEverywhere };

struct ListeningSockets {
  std::string address;  // the port filled in
  Reach reach = Reach::kMachine;
  std::vector<Fd> sockets;  // non-blocking; one for each address that the host's name has
};

// Listens on `address`; port 0 is a free one. Removes the socket file that a server which is gone
// left behind. Of several that try the same address at once, exactly one succeeds.
// INVALID_ARGUMENT: neither host:port nor unix:PATH; ALREADY_EXISTS: something listens there;
// FAILED_PRECONDITION: any other reason.
absl::StatusOr<ListeningSockets> Listen(const std::string& address);

// Stops what Listen began, and removes its socket file unless that is another server's by now.
void StopListening(ListeningSockets* listening);

// Says before anything is loaded whether Listen would succeed.
absl::StatusOr<Reach> PrepareListenAddress(const std::string& address);

// Where the process itself reaches a server that listens on `address`.
std::string OwnAddress(const std::string& address);

}  // namespace softsplice
