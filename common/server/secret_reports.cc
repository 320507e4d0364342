#include "common/server/secret_reports.h"

namespace softsplice {
namespace {

constexpr Family kFailures = {
    "softsplice_tls_reload_failures_total",
    "Changed certificates that were not taken: those before are still in use"};
constexpr Family kExpiry = {"softsplice_tls_certificate_expiry_timestamp_seconds",
                            "When the certificate in use expires, in Unix time"};

}  // namespace

SecretReports::SecretReports(Metrics& metrics, const char* end, const Logger& logger)
    : metrics_(metrics),
      end_(end),
      logger_(logger),
      failures_(metrics.Add<prometheus::Counter>(kFailures, {{"end", end}})) {}

void SecretReports::InUse(const TlsSet& set) const {
  if (set.certificate.empty()) return;
  metrics_.Add<prometheus::Gauge>(kExpiry, {{"end", end_}})
      .Set(absl::ToDoubleSeconds(set.expiry - absl::UnixEpoch()));
}

bool SecretReports::LookAt(Reread<TlsSet>& files) const {
  const absl::StatusOr<bool> looked = files.Look();
  if (!looked.ok()) failures_.Increment();
  const bool taken = Tell(looked, "certificates");
  if (taken) InUse(*files.value());
  return taken;
}

bool SecretReports::Tell(const absl::StatusOr<bool>& looked, absl::string_view what) const {
  if (!looked.ok()) {
    logger_.Log(LogLevel::kError, "changed files not taken",
                {{"what", std::string(what)}, {"message", std::string(looked.status().message())}});
    return false;
  }
  if (*looked) logger_.Log(LogLevel::kInfo, "changed files taken", {{"what", std::string(what)}});
  return *looked;
}

}  // namespace softsplice
