// How the encoders know the decoder, and it them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "common/secrets/certificates.h"
#include "common/server/metrics.h"
#include "common/server/secret_reports.h"
#include "common/server/secure_channel.h"
#include "decoder_svc/encoder_pool/encoder_name.h"

namespace softsplice {

struct EncoderSecretPaths {
  TlsPaths tls;       // no ca: plain connections
  std::string name;   // that their certificates have; empty: that of the encoder
  std::string token;  // empty: none
};

// Thread-safe but for Look.
class EncoderSecrets {
 public:
  // INVALID_ARGUMENT with a sentence: a file is wrong, or a token would travel in plain text where
  // others can read it.
  static absl::StatusOr<std::unique_ptr<EncoderSecrets>> Open(
      const EncoderSecretPaths& paths, const std::vector<EncoderName>& encoders, Metrics& metrics,
      const Logger& logger);

  // Reads again what changed, about once a second however often one thread calls it. True: new
  // channels are to be made. A changed token goes with the next call of any channel.
  bool Look();

  // For new channels. It may outlive this.
  ChannelSecurity security() const;

 private:
  EncoderSecrets(Metrics& metrics, const Logger& logger) : reports_(metrics, "encoders", logger) {}

  const SecretReports reports_;
  std::unique_ptr<Reread<TlsSet>> tls_;  // null: plain connections
  std::string name_;
  std::shared_ptr<Reread<std::string>> token_;  // null: none
  absl::Duration looked_ = -absl::InfiniteDuration();
};

}  // namespace softsplice
