#include "deploy/cli/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace softsplice::bench {

double Quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - std::floor(place));
}

Summary Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  Summary summary = {.count = values.size(),
                     .mean = mean,
                     .deviation = std::sqrt(squares / count),
                     .median = Quantile(values, 0.5),
                     .p90 = Quantile(values, 0.9),
                     .p99 = Quantile(values, 0.99)};
  summary.sorted = std::move(values);
  return summary;
}

}  // namespace softsplice::bench
