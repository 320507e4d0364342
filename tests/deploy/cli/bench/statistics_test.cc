#include "deploy/cli/bench/statistics.h"

#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

TEST(StatisticsTest, NothingIsAllZero) {
  const Summary summary = Summarize({});
  EXPECT_EQ(summary.count, 0u);
  EXPECT_EQ(summary.mean, 0);
  EXPECT_EQ(summary.p99, 0);
}

TEST(StatisticsTest, OneValueIsEveryStatistic) {
  const Summary summary = Summarize({3.5});
  EXPECT_EQ(summary.count, 1u);
  EXPECT_EQ(summary.mean, 3.5);
  EXPECT_EQ(summary.deviation, 0);
  EXPECT_EQ(summary.median, 3.5);
  EXPECT_EQ(summary.p99, 3.5);
}

// By hand: mean 4, squares 9 + 4 + 0 + 1 + 16 = 30 / 5 = 6.
TEST(StatisticsTest, ValuesByHand) {
  const Summary summary = Summarize({8, 1, 4, 5, 2});
  EXPECT_DOUBLE_EQ(summary.mean, 4);
  EXPECT_DOUBLE_EQ(summary.deviation * summary.deviation, 6);
  EXPECT_DOUBLE_EQ(summary.median, 4);
  // Place 0.9 * 4 = 3.6 of 1 2 4 5 8: 5 + 0.6 * 3.
  EXPECT_DOUBLE_EQ(summary.p90, 6.8);
  // Place 3.96.
  EXPECT_DOUBLE_EQ(summary.p99, 7.88);
}

TEST(StatisticsTest, QuantilesAreInterpolated) {
  const std::vector<double> sorted = {10, 20};
  EXPECT_DOUBLE_EQ(Quantile(sorted, 0), 10);
  EXPECT_DOUBLE_EQ(Quantile(sorted, 0.25), 12.5);
  EXPECT_DOUBLE_EQ(Quantile(sorted, 1), 20);
}

}  // namespace
}  // namespace softsplice::bench
