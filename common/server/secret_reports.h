// What operators hear of certificates and tokens that change.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/log/log.h"
#include "common/secrets/certificates.h"
#include "common/secrets/files.h"
#include "common/server/metrics.h"

namespace softsplice {

// Thread-safe; `metrics` and `logger` outlive it.
class SecretReports {
 public:
  // `end`: of connections whose secrets these are, as a label's value.
  SecretReports(Metrics& metrics, const char* end, const Logger& logger);

  // Of certificates: counts what can't be taken, and tells when those in use expire.
  void InUse(const TlsSet& set) const;
  bool LookAt(Reread<TlsSet>& files) const;

  // Reread::Look; true: there is a new value. That, and what can't be taken, goes into the log.
  template <class Value>
  bool LookAt(Reread<Value>& files, absl::string_view what) const {
    return Tell(files.Look(), what);
  }

 private:
  bool Tell(const absl::StatusOr<bool>& looked, absl::string_view what) const;

  Metrics& metrics_;
  const char* const end_;
  const Logger& logger_;
  prometheus::Counter& failures_;
};

}  // namespace softsplice
