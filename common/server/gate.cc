#include "common/server/gate.h"

#include <grpcpp/security/auth_context.h>

#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/server/secure_channel.h"
#include "common/server/tls_listener.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

absl::Status Unauthenticated(absl::string_view message) {
  return MakeError(absl::StatusCode::kUnauthenticated, message,
                   {.reason = reason::kUnauthenticated});
}

// The name of the certificate that the connection's other end has shown.
absl::StatusOr<std::string> CertificateName(const grpc::AuthContext& context) {
  const std::vector<grpc::string_ref> names = context.GetPeerIdentity();
  if (names.empty()) return Unauthenticated("the client's certificate has no name");
  return std::string(names.front().data(), names.front().size());
}

// The token in the call's headers. They have one, or the call is refused.
absl::StatusOr<std::string> TokenOf(const grpc::CallbackServerContext& context) {
  const auto& headers = context.client_metadata();
  const auto [first, last] = headers.equal_range(kAuthorizationHeader);
  if (first == last) {
    return Unauthenticated(
        "this service wants a token: the metadata \"authorization: Bearer TOKEN\"");
  }
  absl::string_view value(first->second.data(), first->second.size());
  if (std::next(first) != last || !absl::StartsWithIgnoreCase(value, kBearer)) {
    return Unauthenticated("the metadata \"authorization\" are not one \"Bearer TOKEN\"");
  }
  value.remove_prefix(sizeof(kBearer) - 1);
  return std::string(absl::StripAsciiWhitespace(value));
}

absl::StatusOr<std::unique_ptr<Reread<Tokens>>> OpenTokens(const std::string& path) {
  return Reread<Tokens>::Open({path}, [path](const std::vector<std::string>& texts) {
    return Tokens::Parse(texts.front(), path);
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Gate>> Gate::Open(const GateOptions& options, Reach reach,
                                                 Metrics& metrics, const Logger& logger) {
  std::unique_ptr<Gate> gate(new Gate(metrics, logger));
  if (!options.tls.certificate.empty()) {
    ASSIGN_OR_RETURN(gate->tls_, OpenTls(options.tls));
    gate->own_ = MakeSelfSigned("softsplice-itself");
    gate->asks_for_certificates_ = !options.tls.ca.empty();
    gate->reports_.InUse(*gate->tls_->value());
  }
  if (!options.tokens.empty()) {
    ASSIGN_OR_RETURN(gate->tokens_, OpenTokens(options.tokens));
    if (gate->tls_ == nullptr && reach != Reach::kMachine) {
      return absl::InvalidArgumentError(
          "with --auth-tokens, --listen has to be a unix socket or localhost, or there have to be "
          "--tls-cert and --tls-key: else tokens travel in plain text");
    }
  }
  if (gate->tls_ == nullptr && reach == Reach::kEverywhere) {
    logger.Log(LogLevel::kWarning, "plain connections on all interfaces",
               {{"message",
                 "whoever reaches the port may call, and read what is sent; see "
                 "--tls-cert and --auth-tokens"}});
  }
  return gate;
}

void Gate::Look() {
  if (tls_ != nullptr) reports_.LookAt(*tls_);
  if (tokens_ != nullptr) reports_.LookAt(*tokens_, "tokens");
}

const std::shared_ptr<grpc::ServerCredentials>& Gate::server_credentials() {
  if (server_credentials_ == nullptr) {
    server_credentials_ =
        tls_ == nullptr ? grpc::InsecureServerCredentials() : MakeTlsServerCredentials(*tls_, own_);
  }
  return server_credentials_;
}

std::shared_ptr<grpc::ChannelCredentials> Gate::own_credentials() const {
  return tls_ == nullptr ? grpc::InsecureChannelCredentials() : MakeOwnChannelCredentials(own_);
}

absl::StatusOr<std::string> Gate::Admit(const grpc::CallbackServerContext& context) const {
  if (tokens_ != nullptr) {
    ASSIGN_OR_RETURN(const std::string token, TokenOf(context));
    std::string name = tokens_->value()->NameOf(token);
    if (name.empty()) return Unauthenticated("the token is none that this service knows");
    return name;
  }
  if (asks_for_certificates_) return CertificateName(*context.auth_context());
  return "";
}

}  // namespace softsplice
