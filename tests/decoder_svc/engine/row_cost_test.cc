#include "decoder_svc/engine/row_cost.h"

#include <gtest/gtest.h>

#include <random>

namespace softsplice {
namespace {

constexpr double kRow = 0.002;

// `rows` of one prompt, from `first` on.
PromptRows Rows(int rows, int64_t first) {
  return {.count = rows, .positions = rows * first + int64_t{rows} * (rows - 1) / 2};
}

double Seconds(const PromptRows& rows, double growth) {
  return kRow * (rows.count + growth * rows.positions);
}

TEST(RowCostTest, IsUnknownAtFirst) {
  const RowCost cost;
  EXPECT_EQ(cost.Weight(8000), 1);
}

TEST(RowCostTest, ASingleStepTellsNothingOfOtherPositions) {
  RowCost cost;
  cost.Add(Rows(512, 0), 1);
  EXPECT_EQ(cost.Weight(8000), 1);
}

TEST(RowCostTest, FindsWhatGrowsWithThePosition) {
  constexpr double kGrowth = 3.0 / 8192;
  RowCost cost;
  for (int pass = 0; pass < 4; ++pass) {
    for (int first = 0; first < 8192; first += 256) {
      cost.Add(Rows(256, first), Seconds(Rows(256, first), kGrowth));
    }
  }
  EXPECT_NEAR(cost.Weight(8192), 4, 0.1);
  EXPECT_NEAR(cost.Weight(Rows(100, 4000)), 100 + kGrowth * Rows(100, 4000).positions, 5);
}

TEST(RowCostTest, RowsAreNeverTakenToGetCheaper) {
  RowCost cost;
  for (int i = 0; i < 100; ++i) {
    cost.Add(Rows(100, 0), 1);
    cost.Add(Rows(100, 8000), 0.5);
  }
  EXPECT_EQ(cost.Weight(8000), 1);
}

TEST(RowCostTest, StepsThatVaryByAThirdDoNotMislead) {
  constexpr double kGrowth = 3.0 / 8192;
  std::mt19937 random(1);
  std::uniform_real_distribution<double> noise(0.67, 1.33);
  std::uniform_int_distribution<int> first(0, 8000), rows(1, 300);
  RowCost cost;
  for (int i = 0; i < 1000; ++i) {
    const PromptRows step = Rows(rows(random), first(random));
    cost.Add(step, noise(random) * Seconds(step, kGrowth));
    if (i < 200) continue;
    EXPECT_GE(cost.Weight(8192), 2.5);
    EXPECT_LE(cost.Weight(8192), 6);
  }
}

TEST(RowCostTest, WhatTookNoTimeIsNotTakenForAMeasurement) {
  RowCost cost;
  cost.Add(Rows(100, 0), 0);
  cost.Add(Rows(100, 0), -1);
  cost.Add({}, 1);
  EXPECT_EQ(cost.Weight(8000), 1);
}

}  // namespace
}  // namespace softsplice
