#include "decoder_svc/engine/noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace softsplice {
namespace {

using Offers = std::vector<std::pair<int32_t, double>>;  // token, x

int32_t Draw(absl::Span<const std::pair<int32_t, double>> offers, uint64_t seed, int index) {
  GumbelDraw draw(seed, index);
  for (const auto& [token, x] : offers) draw.Offer(token, x);
  return draw.winner();
}

// Known answers of the published generator.
TEST(SplitMixTest, IsTheirs) {
  EXPECT_EQ(SplitMix(1234567, 0), 6457827717110365317u);
  EXPECT_EQ(SplitMix(1234567, 1), 3203168211198807973u);
  EXPECT_EQ(SplitMix(1234567, 2), 9817491932198370423u);
  EXPECT_EQ(SplitMix(0, 0), 0xe220a8397b1dcdafu);
}

// Of tokens that are far apart and of neighbours, over places of one answer and over seeds.
TEST(GumbelDrawTest, FollowsTheSoftmax) {
  constexpr int kDraws = 50000, kTokens = 40;
  constexpr double kChiSquare39 = 72.05;  // 39 degrees of freedom, 99.9 %
  for (const int32_t stride : {1, 6553}) {
    Offers offers;
    double total = 0;
    for (int i = 0; i < kTokens; ++i) {
      offers.emplace_back(i * stride, 0.1 * i - 3);
      total += std::exp(offers.back().second);
    }
    for (const bool over_seeds : {false, true}) {
      std::vector<double> counts(kTokens);
      for (int i = 0; i < kDraws; ++i) {
        ++counts[(over_seeds ? Draw(offers, i, 3) : Draw(offers, 3, i)) / stride];
      }
      double chi_square = 0;
      for (int i = 0; i < kTokens; ++i) {
        const double expected = kDraws * std::exp(offers[i].second) / total;
        chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      }
      EXPECT_LT(chi_square, kChiSquare39) << stride << " " << over_seeds;
    }
  }
}

TEST(GumbelDrawTest, OrderDoesNotMatter) {
  std::mt19937 random(5);
  Offers offers;
  for (int32_t token = 0; token < 300; ++token) {
    offers.emplace_back(token, std::normal_distribution<double>(0, 3)(random));
  }
  for (int index = 0; index < 200; ++index) {
    const int32_t winner = Draw(offers, 11, index);
    std::shuffle(offers.begin(), offers.end(), random);
    ASSERT_EQ(Draw(offers, 11, index), winner);
  }
}

// Whoever loses may as well stay away.
TEST(GumbelDrawTest, LosersDoNotMatter) {
  for (int index = 0; index < 200; ++index) {
    Offers offers;
    for (int32_t token = 0; token < 20; ++token) offers.emplace_back(token, 0.0);
    const int32_t winner = Draw(offers, 1, index);
    std::erase_if(offers, [&](const auto& o) { return o.first % 2 == 0 && o.first != winner; });
    ASSERT_EQ(Draw(offers, 1, index), winner);
  }
}

TEST(GumbelDrawTest, WhatIsBannedIsNeverDrawn) {
  constexpr double kBan = -std::numeric_limits<double>::infinity();
  for (int index = 0; index < 100; ++index) {
    EXPECT_EQ(Draw({{0, kBan}, {1, -1e30}, {2, kBan}}, 1, index), 1);
  }
}

}  // namespace
}  // namespace softsplice
