// Addresses that a server listens on: host:port or unix:PATH.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace softsplice {

// Says before anything is loaded whether a server could listen on `address`, and removes the socket
// file that a server which is gone left behind. INVALID_ARGUMENT: neither host:port nor unix:PATH;
// ALREADY_EXISTS: something listens there; FAILED_PRECONDITION: any other reason.
absl::Status PrepareListenAddress(const std::string& address);

}  // namespace softsplice
