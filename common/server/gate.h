// Who may call a process, and over what connections.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/log/log.h"
#include "common/secrets/certificates.h"
#include "common/secrets/self_signed.h"
#include "common/secrets/tokens.h"
#include "common/server/address.h"
#include "common/server/metrics.h"
#include "common/server/secret_reports.h"

namespace softsplice {

struct GateOptions {
  TlsPaths tls;        // no certificate: plain connections. ca: clients show a certificate of it
  std::string tokens;  // a file (Tokens::Parse); empty: nobody has to show one
};

// Thread-safe but for Look. Lives as long as the server.
class Gate {
 public:
  // INVALID_ARGUMENT with a sentence: a file is wrong, or tokens would travel in plain text where
  // others can read them. `reach`: of the address that is listened on.
  static absl::StatusOr<std::unique_ptr<Gate>> Open(const GateOptions& options, Reach reach,
                                                    Metrics& metrics, const Logger& logger);

  // Reads again what changed. To be called about once a second, by one thread.
  void Look();

  // Of the listener; made by the first call, and kept, as gRPC may look into them for a moment
  // longer than its server lives.
  const std::shared_ptr<grpc::ServerCredentials>& server_credentials();
  // Of the process's own way through it.
  std::shared_ptr<grpc::ChannelCredentials> own_credentials() const;

  // The caller's name: that of its token, or the first one in its certificate; empty: nobody needs
  // one. UNAUTHENTICATED: it has none.
  absl::StatusOr<std::string> Admit(const grpc::CallbackServerContext& context) const;

 private:
  Gate(Metrics& metrics, const Logger& logger) : reports_(metrics, "server", logger) {}

  const SecretReports reports_;
  std::unique_ptr<Reread<TlsSet>> tls_;  // null: plain connections
  KeyPair own_;                          // with TLS
  std::shared_ptr<grpc::ServerCredentials> server_credentials_;
  bool asks_for_certificates_ = false;
  std::unique_ptr<Reread<Tokens>> tokens_;  // null: nobody has to show one
};

// Gate::Admit; without a gate everybody may call, and has no name.
inline absl::StatusOr<std::string> Admit(const Gate* gate,
                                         const grpc::CallbackServerContext& context) {
  if (gate == nullptr) return "";
  return gate->Admit(context);
}

}  // namespace softsplice
