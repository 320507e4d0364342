#include "common/server/service_metrics.h"

#include "absl/time/clock.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/text/utf8.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr Family kBuildInfo = {"softsplice_build_info", "1; what runs here is in the labels"};
constexpr Family kLoad = {"softsplice_model_load_seconds", "How long it took to load the model"};
constexpr Family kWaiting = {"softsplice_requests_waiting", "Requests that wait for their turn"};
constexpr Family kRunning = {"softsplice_requests_running", "Requests that are being worked on"};
constexpr Family kCapacity = {"softsplice_queue_capacity", "Requests that may wait"};
constexpr Family kLastStep = {"softsplice_engine_last_step_timestamp_seconds",
                              "When the engine last gave a sign of life, in Unix time"};
constexpr Family kErrors = {"softsplice_device_errors_total",
                            "Steps and passes that gave nothing, by what was wrong"};

constexpr const char* kKinds[] = {"out_of_memory", "rank_failed", "device_error"};

double UnixSeconds(absl::Duration steady) {
  return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch() - (SteadyNow() - steady));
}

}  // namespace

void Tell(const ServiceFigures& figures, Readings& to) {
  to.Gauge(kBuildInfo, 1,
           {{"version", SOFTSPLICE_VERSION},
            {"backend", figures.backend},
            {"model", ToUtf8(figures.model)},
            {"fingerprint", figures.fingerprint}});
  to.Gauge(kLoad, absl::ToDoubleSeconds(figures.load));
  to.Gauge(kWaiting, figures.waiting);
  to.Gauge(kRunning, figures.running);
  to.Gauge(kCapacity, figures.queue_capacity);
  to.Gauge(kLastStep, UnixSeconds(figures.last_step));
}

DeviceErrors::DeviceErrors(Metrics& metrics) : errors_(metrics, kErrors, "kind", kKinds) {}

void DeviceErrors::Note(const absl::Status& status) const {
  if (status.ok()) return;
  const std::string why = GetErrorDetail(status).reason;
  const Kind kind = why == reason::kOutOfMemory  ? Kind::kMemory
                    : why == reason::kRankFailed ? Kind::kRank
                                                 : Kind::kDevice;
  errors_[kind].Increment();
}

}  // namespace softsplice
