// Channels to services that want TLS, a token, or both.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <functional>
#include <memory>
#include <string>

#include "common/secrets/certificates.h"

namespace softsplice {

inline constexpr char kAuthorizationHeader[] = "authorization";
inline constexpr char kBearer[] = "Bearer ";

struct ChannelSecurity {
  std::shared_ptr<const TlsSet> tls;  // none: a plain connection. Without `ca`: the system's
  std::string name;                   // that the service's certificate has; empty: the address's
  std::function<std::string()> token =
      nullptr;  // asked at each call, on any thread; none: no token
};

// A channel to `target`, in gRPC's words.
std::shared_ptr<grpc::Channel> OpenSecureChannel(const std::string& target,
                                                 const ChannelSecurity& security,
                                                 grpc::ChannelArguments arguments);

// Whether what is sent to `address` (HOST:PORT or unix:PATH) stays on this machine, so that a token
// may go there in plain text.
bool StaysHere(const std::string& address);

}  // namespace softsplice
