// What one end of a TLS connection shows and trusts, checked with OpenSSL before TLS gets it: gRPC
// takes anything, and then fails every handshake.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/secrets/files.h"

namespace softsplice {

// Names of PEM files; empty: none.
struct TlsPaths {
  std::string certificate;  // and those between it and its authority; with `key`, or neither
  std::string key;          // its private key, without a passphrase
  std::string ca;           // the authorities of the other end's certificate
};

// What they hold.
struct TlsSet {
  std::string certificate, key, ca;
  absl::Time expiry = absl::InfiniteFuture();  // of the certificate, or of one after it if sooner
};

// Of what `texts` hold, those of the paths that are set, in order. INVALID_ARGUMENT with a
// sentence: something is missing, damaged, of no use for TLS, expired or not yet valid, or the key
// is another certificate's. At least one authority must be valid.
absl::StatusOr<TlsSet> CheckTls(const TlsPaths& paths, const std::vector<std::string>& texts,
                                absl::Time now);

// CheckTls of the files whenever they change.
absl::StatusOr<std::unique_ptr<Reread<TlsSet>>> OpenTls(const TlsPaths& paths);

}  // namespace softsplice
