// When the requests of an open loop are sent.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace softsplice::bench {

// Gaps between arrivals: given, or gamma distributed with mean 1 / `rate` and shape `burstiness`: 1
// is a Poisson process, less comes in bursts, more is more even, infinity is a constant rate.
class Arrivals {
 public:
  // `rate`: arrivals a second. Both numbers are above 0.
  Arrivals(double rate, double burstiness, uint64_t seed);
  explicit Arrivals(std::vector<absl::Duration> gaps) : gaps_(std::move(gaps)) {}
  // None after the last of those that are given.
  std::optional<absl::Duration> NextGap();

 private:
  const std::vector<absl::Duration> gaps_;
  size_t next_ = 0;  // of them
  const double rate_ = 0;
  const double burstiness_ = 1;
  std::mt19937_64 random_;
};

}  // namespace softsplice::bench
