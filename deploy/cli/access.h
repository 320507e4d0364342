// How the command line reaches a service that wants TLS, a token, or both.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/secrets/certificates.h"

namespace softsplice {

// What goes with every address of a command.
struct Access {
  TlsPaths tls;      // for https:// only; without ca: the system's authorities
  std::string name;  // that the service's certificate has; empty: the address's host
  std::string token_file;
};

// A channel with no message limits of its own to HOST:PORT, unix:PATH or https://HOST[:PORT].
// INVALID_ARGUMENT: a file is wrong, or a token would travel in plain text.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address,
                                                           const Access& access = {});

// `access` to another address of the service at `address`: with the same name in its certificate,
// and over TLS if that is, so that `endpoint` (HOST:PORT) becomes the address.
Access AccessToPeer(const std::string& address, const Access& access, std::string* endpoint);

// Why a connection to `address` does not come about; tries for some seconds. FAILED_PRECONDITION:
// TLS is to blame, with what to do; UNAVAILABLE: nobody is there.
absl::Status WhyUnreachable(const std::string& address, const Access& access);

}  // namespace softsplice
