#include "decoder_svc/encoder_pool/encoder_secrets.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/secrets/tokens.h"
#include "common/status/macros.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr absl::Duration kLookEvery = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<EncoderSecrets>> EncoderSecrets::Open(
    const EncoderSecretPaths& paths, const std::vector<EncoderName>& encoders, Metrics& metrics,
    const Logger& logger) {
  std::unique_ptr<EncoderSecrets> secrets(new EncoderSecrets(metrics, logger));
  secrets->name_ = paths.name;
  if (!paths.tls.ca.empty()) {
    ASSIGN_OR_RETURN(secrets->tls_, OpenTls(paths.tls));
    secrets->reports_.InUse(*secrets->tls_->value());
  }
  if (paths.token.empty()) return secrets;
  for (const EncoderName& encoder : encoders) {
    const bool here = StaysHere(encoder.named() ? absl::StrCat(encoder.host, ":", encoder.port)
                                                : encoder.address);
    if (secrets->tls_ == nullptr && !here) {
      return absl::InvalidArgumentError(
          absl::StrCat("with --encoder-token-file, ", encoder.text,
                       " has to be a unix socket or "
                       "localhost, or there has to be --encoder-tls-ca: else the token travels in "
                       "plain text"));
    }
  }
  ASSIGN_OR_RETURN(secrets->token_, Reread<std::string>::Open(
                                        {paths.token}, [path = paths.token](const auto& texts) {
                                          return ParseToken(texts.front(), path);
                                        }));
  return secrets;
}

bool EncoderSecrets::Look() {
  if (SteadyNow() - looked_ < kLookEvery) return false;
  looked_ = SteadyNow();
  if (token_ != nullptr) reports_.LookAt(*token_, "token");
  return tls_ != nullptr && reports_.LookAt(*tls_);
}

ChannelSecurity EncoderSecrets::security() const {
  ChannelSecurity security = {.name = name_};
  if (tls_ != nullptr) security.tls = tls_->value();
  if (token_ != nullptr) security.token = [token = token_] { return *token->value(); };
  return security;
}

}  // namespace softsplice
