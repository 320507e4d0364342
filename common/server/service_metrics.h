// The families that both services have besides those of calls and of the process.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/server/metrics.h"

namespace softsplice {

// How long what a call brought waited for its turn.
inline constexpr Family kQueueSeconds = {
    "softsplice_queue_seconds", "From a request's arrival in the queue to its turn", kWaitEdges};

// What a service reads off its engine when asked.
struct ServiceFigures {
  std::string backend, model;
  std::string fingerprint;  // of the encoder's model, in hexadecimal; empty: none is known
  absl::Duration load;      // how long it took
  int waiting = 0;          // requests
  int running = 0;
  int queue_capacity = 0;
  absl::Duration last_step;  // SteadyNow() then
};
void Tell(const ServiceFigures& figures, Readings& to);

// `uses`: DeviceUse of kernels/footprint.h, which common does not know. No family without devices.
inline constexpr Family kDeviceMemory = {"softsplice_device_memory_bytes",
                                         "Memory of a device: free, and what the model takes"};
template <class Uses>
void TellDevices(const Uses& uses, Readings& to) {
  for (const auto& use : uses) {
    const auto tell = [&](const char* state, uint64_t bytes) {
      to.Gauge(kDeviceMemory, static_cast<double>(bytes),
               {{"device", std::to_string(use.index)}, {"state", state}});
    };
    tell("free", use.free_bytes);
    tell("weights", use.footprint.weights);
    tell("caches", use.footprint.caches);
    tell("workspace", use.footprint.workspace);
  }
}

// Counts what gave nothing because of a device. Thread-safe.
class DeviceErrors {
 public:
  explicit DeviceErrors(Metrics& metrics);
  // How a step or a pass ended.
  void Note(const absl::Status& status) const;

 private:
  enum class Kind { kMemory, kRank, kDevice };
  const Counters<Kind> errors_;
};

}  // namespace softsplice
