#include "deploy/cli/bench/arrivals.h"

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "deploy/cli/bench/statistics.h"
#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

std::vector<double> Gaps(Arrivals arrivals, int count) {
  std::vector<double> gaps;
  for (int i = 0; i < count; ++i) gaps.push_back(absl::ToDoubleSeconds(*arrivals.NextGap()));
  return gaps;
}

// A gamma distribution of shape k and mean m has the variance m^2 / k and the excess kurtosis 6 /
// k. So the mean of n draws has the deviation m / sqrt(k n), and their variance, by the delta
// method, m^2 / k sqrt((2 + 6 / k) / n): both are held to 5 deviations.
class GammaTest : public testing::TestWithParam<double> {};

TEST_P(GammaTest, GapsHaveTheMeanAndTheVarianceOfTheirShape) {
  constexpr double kRate = 4;
  constexpr int kCount = 20000;
  const double shape = GetParam(), mean = 1 / kRate, variance = mean * mean / shape;
  const Summary gaps = Summarize(Gaps(Arrivals(kRate, shape, 7), kCount));
  EXPECT_NEAR(gaps.mean, mean, 5 * mean / std::sqrt(shape * kCount));
  EXPECT_NEAR(gaps.deviation * gaps.deviation, variance,
              5 * variance * std::sqrt((2 + 6 / shape) / kCount));
}

INSTANTIATE_TEST_SUITE_P(Shapes, GammaTest, testing::Values(0.25, 1, 8));

// Of a Poisson process, the share e^-x of the gaps is longer than x / rate; a share p of n draws
// has the deviation sqrt(p (1 - p) / n).
TEST(ArrivalsTest, ABurstinessOfOneIsAPoissonProcess) {
  constexpr int kCount = 20000;
  const std::vector<double> gaps = Gaps(Arrivals(2, 1, 3), kCount);
  for (const double x : {0.1, 0.5, 1.0, 2.0, 4.0}) {
    int longer = 0;
    for (const double gap : gaps) longer += gap > x / 2;
    const double share = std::exp(-x);
    EXPECT_NEAR(longer / double{kCount}, share, 5 * std::sqrt(share * (1 - share) / kCount)) << x;
  }
}

TEST(ArrivalsTest, AnInfiniteBurstinessIsAConstantRate) {
  for (const double gap : Gaps(Arrivals(8, std::numeric_limits<double>::infinity(), 1), 100)) {
    EXPECT_EQ(gap, 0.125);
  }
}

TEST(ArrivalsTest, TheSeedDecides) {
  EXPECT_EQ(Gaps(Arrivals(2, 0.5, 5), 50), Gaps(Arrivals(2, 0.5, 5), 50));
  EXPECT_NE(Gaps(Arrivals(2, 0.5, 5), 50), Gaps(Arrivals(2, 0.5, 6), 50));
}

TEST(ArrivalsTest, GivenGapsComeInTheirOrderAndEnd) {
  Arrivals arrivals(std::vector{absl::ZeroDuration(), absl::Seconds(3)});
  EXPECT_EQ(arrivals.NextGap(), absl::ZeroDuration());
  EXPECT_EQ(arrivals.NextGap(), absl::Seconds(3));
  EXPECT_EQ(arrivals.NextGap(), std::nullopt);
}

}  // namespace
}  // namespace softsplice::bench
