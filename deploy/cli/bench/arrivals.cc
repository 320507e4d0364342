#include "deploy/cli/bench/arrivals.h"

#include <cmath>

namespace softsplice::bench {

Arrivals::Arrivals(double rate, double burstiness, uint64_t seed)
    : rate_(rate), burstiness_(burstiness), random_(seed) {}

std::optional<absl::Duration> Arrivals::NextGap() {
  if (rate_ == 0) return next_ < gaps_.size() ? std::optional(gaps_[next_++]) : std::nullopt;
  if (std::isinf(burstiness_)) return absl::Seconds(1 / rate_);
  std::gamma_distribution<double> gap(burstiness_, 1 / (rate_ * burstiness_));
  return absl::Seconds(gap(random_));
}

}  // namespace softsplice::bench
