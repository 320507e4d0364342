// When the requests of an open loop are sent.
#pragma once

#include <cstdint>
#include <random>

#include "absl/time/time.h"

namespace softsplice::bench {

// Gaps between arrivals, gamma distributed with mean 1 / `rate` and shape `burstiness`: 1 is a
// Poisson process, less comes in bursts, more is more even, infinity is a constant rate.
class Arrivals {
 public:
  // `rate`: arrivals a second. Both numbers are above 0.
  Arrivals(double rate, double burstiness, uint64_t seed);
  absl::Duration NextGap();

 private:
  const double rate_;
  const double burstiness_;
  std::mt19937_64 random_;
};

}  // namespace softsplice::bench
