// Many values in a few numbers.
#pragma once

#include <cstddef>
#include <vector>

namespace softsplice::bench {

// All 0 where there are no values.
struct Summary {
  std::vector<double> sorted;
  size_t count = 0;
  double mean = 0;
  double deviation = 0;  // of the values themselves: the sum of squares is divided by `count`
  double median = 0;
  double p90 = 0;
  double p99 = 0;
};

// The value under which `share` (0 to 1) of `sorted` lies, interpolated linearly between the two
// nearest as numpy's percentile does. `sorted` ascends and is not empty.
double Quantile(const std::vector<double>& sorted, double share);

Summary Summarize(std::vector<double> values);

}  // namespace softsplice::bench
