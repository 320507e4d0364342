// What is read off the process itself.
#pragma once

#include <cstdint>

#include "common/server/metrics.h"
#include "common/server/phase.h"

namespace softsplice {

// Bytes of memory that the process has now.
uint64_t ResidentBytes();

// Tells the process's phase and its standard figures, process_*, as long as it lives.
class ProcessMetrics {
 public:
  // Both outlive it.
  ProcessMetrics(Metrics& metrics, const LivePhase& phase);

 private:
  void Read(Readings& to) const;

  const LivePhase& phase_;
  const double start_time_;  // read once: it would move when somebody sets the wall clock
  const Metrics::Source source_;
};

}  // namespace softsplice
