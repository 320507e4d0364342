#include "decoder_svc/engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "common/status/error.h"
#include "tests/decoder_svc/engine/known_row.h"

namespace softsplice {
namespace {

using testing::ElementsAre;

constexpr float kBan = -std::numeric_limits<float>::infinity();

// Everything off: the plain distribution of the logits.
SamplingOptions Plain() {
  return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 7};
}

std::vector<float> Logs(std::vector<double> probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

std::map<int32_t, int> Counts(const SamplingOptions& options, std::vector<float> logits, int draws,
                              const std::vector<int32_t>& banned = {}) {
  Sampler sampler(options, banned, {}, 0);
  const KnownRow row(logits);
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    const auto token = sampler.Sample(row.For(sampler));
    EXPECT_TRUE(token.ok()) << token.status();
    ++counts[token->chosen.token];
  }
  return counts;
}

std::set<int32_t> Tokens(const SamplingOptions& options, const std::vector<float>& logits,
                         int draws = 4000) {
  std::set<int32_t> tokens;
  for (const auto& [token, count] : Counts(options, logits, draws)) tokens.insert(token);
  return tokens;
}

int32_t Greedy(SamplingOptions options, std::vector<float> logits,
               const std::vector<int32_t>& prompt = {}) {
  options.temperature = 0;
  Sampler sampler(options, {}, prompt, 0);
  return sampler.Sample(KnownRow(logits).For(sampler))->chosen.token;
}

// Pearson's chi-square of `counts` against `probabilities`.
double ChiSquare(std::map<int32_t, int> counts, const std::vector<double>& probabilities,
                 int draws) {
  double sum = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    const double expected = probabilities[i] * draws;
    sum += (counts[static_cast<int32_t>(i)] - expected) *
           (counts[static_cast<int32_t>(i)] - expected) / expected;
  }
  return sum;
}

const std::vector<double> kFour = {0.1, 0.4, 0.2, 0.3};
constexpr int kDraws = 20000;
constexpr double kChiSquare3 = 16.27;  // 3 degrees of freedom, 99.9 %

TEST(SamplerTest, FollowsTheDistribution) {
  EXPECT_LT(ChiSquare(Counts(Plain(), Logs(kFour), kDraws), kFour, kDraws), kChiSquare3);
}

TEST(SamplerTest, FollowsTheDistributionThroughTopK) {
  SamplingOptions options = Plain();
  options.top_k = 4;
  EXPECT_LT(ChiSquare(Counts(options, Logs(kFour), kDraws), kFour, kDraws), kChiSquare3);
}

TEST(SamplerTest, TemperatureFlattens) {
  SamplingOptions options = Plain();
  options.temperature = 2;
  std::vector<double> flat;
  double total = 0;
  for (double p : kFour) total += std::sqrt(p);
  for (double p : kFour) flat.push_back(std::sqrt(p) / total);
  EXPECT_LT(ChiSquare(Counts(options, Logs(kFour), kDraws), flat, kDraws), kChiSquare3);
}

TEST(SamplerTest, GreedyTakesTheFirstOfEqualOnes) {
  EXPECT_EQ(Greedy({}, {1, 3, 3, 2}), 1);
  EXPECT_EQ(Greedy({}, {-5, -3, -1}), 2);
}

TEST(SamplerTest, TopKKeepsTheBestK) {
  SamplingOptions options = Plain();
  options.top_k = 2;
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1, 3));
  options.top_k = 1;
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1));
  options.top_k = 100;  // more than there are
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(0, 1, 2, 3));
}

TEST(SamplerTest, TopPKeepsTheTokenThatCrosses) {
  SamplingOptions options = Plain();
  options.top_p = 0.5;  // 0.4, then 0.3 crosses
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1, 3));
  options.top_p = 0.75;
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1, 2, 3));
  options.top_p = 0;
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1));
}

TEST(SamplerTest, TopPCountsWhatTopKLeft) {
  SamplingOptions options = Plain();
  options.top_k = 2;     // 4/7 and 3/7 remain
  options.top_p = 0.55;  // of the whole distribution this would take two
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1));
}

TEST(SamplerTest, MinPIsRelativeToTheBest) {
  SamplingOptions options = Plain();
  options.min_p = 0.6;  // at least 0.24
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1, 3));
  options.min_p = 0.4;
  EXPECT_THAT(Tokens(options, Logs(kFour)), ElementsAre(1, 2, 3));
}

TEST(SamplerTest, LargeNucleus) {
  // 1,000 equal tokens: the nucleus of one half has 500 of them, those with the lowest ids.
  SamplingOptions options = Plain();
  options.top_p = 0.5;
  const std::set<int32_t> tokens = Tokens(options, std::vector<float>(1000, 1.0f));
  EXPECT_GT(tokens.size(), 450u);
  EXPECT_NEAR(*tokens.rbegin(), 500, 2);
}

TEST(SamplerTest, BannedTokensAreNeverSampled) {
  SamplingOptions options = Plain();
  options.logit_bias = {{1, kBan}};
  std::vector<int32_t> tokens;
  for (const auto& [token, count] : Counts(options, Logs(kFour), 4000, {3}))
    tokens.push_back(token);
  EXPECT_THAT(tokens, ElementsAre(0, 2));
}

TEST(SamplerTest, BiasIsAdded) {
  EXPECT_EQ(Greedy({.logit_bias = {{0, 0.5f}}}, {1, 1.4f}), 0);
  EXPECT_EQ(Greedy({.logit_bias = {{0, 0.3f}}}, {1, 1.4f}), 1);
}

TEST(SamplerTest, RepetitionPenaltyDividesPositiveAndMultipliesNegative) {
  const SamplingOptions options{.repetition_penalty = 1.5f};
  EXPECT_EQ(Greedy(options, {3, 2.1f}, {0}), 1);  // 3 / 1.5 = 2
  EXPECT_EQ(Greedy(options, {3, 1.9f}, {0}), 0);
  EXPECT_EQ(Greedy(options, {-2, -2.9f}, {0}), 1);  // -2 * 1.5 = -3
  EXPECT_EQ(Greedy(options, {-2, -3.1f}, {0}), 0);
}

TEST(SamplerTest, FrequencyAndPresenceCountTheAnswerOnly) {
  SamplingOptions options{.temperature = 0, .frequency_penalty = 0.5f, .presence_penalty = 1};
  Sampler sampler(options, {}, std::vector<int32_t>{0, 0, 0}, 0);
  std::vector<float> logits = {3, 1.6f, 1.1f};
  std::vector<int32_t> tokens;
  for (int i = 0; i < 5; ++i) {
    tokens.push_back(sampler.Sample(KnownRow(logits).For(sampler))->chosen.token);
  }
  // 3; then 3 - 1.5 < 1.6; then 1.5 beats 1.6 - 1.5 and 1.1; then 3 - 2 = 1 loses to 1.1.
  EXPECT_THAT(tokens, ElementsAre(0, 1, 0, 2, 0));
}

TEST(SamplerTest, LogprobsAreOfTheUnmodifiedLogits) {
  SamplingOptions options{.temperature = 0.1f, .top_k = 1, .logit_bias = {{1, kBan}}};
  std::vector<float> logits = Logs(kFour);
  const std::vector<float> before = logits;
  Sampler sampler(options, {}, {}, 4);
  const auto sampled = sampler.Sample(KnownRow(logits).For(sampler));
  ASSERT_TRUE(sampled.ok());
  EXPECT_EQ(sampled->chosen.token, 3);
  EXPECT_NEAR(sampled->chosen.logprob, std::log(0.3), 1e-6);
  ASSERT_EQ(sampled->alternatives.size(), 4u);
  double sum = 0;
  for (size_t i = 0; i < 4; ++i) {
    const int32_t expected[] = {1, 3, 2, 0};
    EXPECT_EQ(sampled->alternatives[i].token, expected[i]);
    sum += std::exp(sampled->alternatives[i].logprob);
  }
  EXPECT_NEAR(sum, 1, 1e-6);
  EXPECT_EQ(logits, before);
}

TEST(SamplerTest, SeedsDecide) {
  const std::vector<float> logits(1000, 0.0f);
  const auto draw = [&](uint64_t seed) {
    SamplingOptions options = Plain();
    options.seed = seed;
    Sampler sampler(options, {}, {}, 0);
    std::vector<float> copy = logits;
    std::vector<int32_t> tokens;
    for (int i = 0; i < 16; ++i) {
      tokens.push_back(sampler.Sample(KnownRow(copy).For(sampler))->chosen.token);
    }
    return tokens;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
  EXPECT_NE(draw(5), draw(5 + (uint64_t{1} << 32))) << "all of its bits";
}

// Filters that keep what is drawn change nothing, whichever way the candidates are found.
TEST(SamplerTest, DrawsTheSameThroughEveryFilter) {
  const auto draw = [&](int top_k, float top_p, float min_p) {
    SamplingOptions options = Plain();
    options.top_k = top_k;
    options.top_p = top_p;
    options.min_p = min_p;
    Sampler sampler(options, {}, {}, 0);
    std::vector<float> logits = Logs(kFour);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 100; ++i) {
      tokens.push_back(sampler.Sample(KnownRow(logits).For(sampler))->chosen.token);
    }
    return tokens;
  };
  const std::vector<int32_t> plain = draw(0, 1, 0);
  EXPECT_EQ(draw(4, 1, 0), plain);
  EXPECT_EQ(draw(4, 0.99f, 0), plain);
  EXPECT_EQ(draw(0, 0.99f, 0), plain);
  EXPECT_EQ(draw(0, 1, 0.01f), plain);
  EXPECT_NE(draw(3, 1, 0), plain);
}

TEST(SamplerTest, TakesFromTheBestLogitsWhatItWouldTakeFromAll) {
  std::vector<float> logits;
  for (int i = 0; i < 3000; ++i) logits.push_back(static_cast<float>(i * 7919 % 3001) / 150);
  const KnownRow row(logits);
  const std::vector<int32_t> banned = {row.Best().ids[0], row.Best().ids[5], 12};
  for (SamplingOptions options :
       {SamplingOptions{.temperature = 0}, SamplingOptions{.temperature = 0, .top_k = 0},
        SamplingOptions{}, SamplingOptions{.top_k = 253, .top_p = 1, .min_p = 0.001f},
        SamplingOptions{.temperature = 9, .top_k = 200, .logit_bias = {{7, kBan}}}}) {
    options.seed = 3;
    Sampler best(options, banned, {}, 20), all(options, banned, {}, 20);
    ASSERT_FALSE(best.needs_all());
    for (int i = 0; i < 50; ++i) {
      const SampledToken a = *best.Sample(row.Best()), b = *all.Sample(row.All());
      EXPECT_EQ(a.chosen.token, b.chosen.token);
      EXPECT_EQ(a.chosen.logprob, b.chosen.logprob);
      ASSERT_EQ(a.alternatives.size(), 20u);
      for (size_t j = 0; j < 20; ++j) {
        EXPECT_EQ(a.alternatives[j].token, b.alternatives[j].token) << "bans do not count";
      }
    }
  }
}

TEST(SamplerTest, NeedsAllLogitsWhenTheBestDoNotSuffice) {
  const auto needs = [](const SamplingOptions& options, int banned) {
    std::vector<int32_t> tokens(banned);
    std::iota(tokens.begin(), tokens.end(), 0);
    return Sampler(options, tokens, {}, 0).needs_all();
  };
  EXPECT_FALSE(needs({.top_k = 250}, 6));
  EXPECT_TRUE(needs({.top_k = 250}, 7));
  EXPECT_TRUE(needs({.top_k = 0}, 0));
  EXPECT_FALSE(needs({.temperature = 0, .top_k = 0}, 255));
  EXPECT_TRUE(needs({.temperature = 0, .top_k = 0}, 256));
  EXPECT_TRUE(needs({.repetition_penalty = 1.1f}, 0));
  EXPECT_TRUE(needs({.presence_penalty = 1}, 0));
  EXPECT_TRUE(needs({.logit_bias = {{3, 1}}}, 0));
  EXPECT_FALSE(needs({.logit_bias = {{3, kBan}}}, 0));
}

TEST(SamplerTest, BiasesOfOneTokenAddUp) {
  EXPECT_EQ(Greedy({.logit_bias = {{0, 0.3f}, {1, 2}, {0, 0.3f}, {1, -2}}}, {1, 1.4f}), 0);
  EXPECT_EQ(Greedy({.logit_bias = {{0, 0.3f}, {1, 2}, {0, -0.3f}, {1, -2}}}, {1, 1.4f}), 1);
}

TEST(SamplerTest, ABanStandsWhateverElseIsSaidOfTheToken) {
  for (const float other : {1e30f, -1e30f, -kBan}) {
    EXPECT_EQ(Greedy({.logit_bias = {{0, kBan}, {0, other}}}, {5, 1}), 1) << other;
    EXPECT_EQ(Greedy({.logit_bias = {{0, other}, {0, kBan}}}, {5, 1}), 1) << other;
  }
}

// What is finite can't become a ban, however much of it there is.
TEST(SamplerTest, FiniteBiasesLeaveEveryToken) {
  SamplingOptions options = Plain();
  for (int32_t token = 0; token < 4; ++token) {
    options.logit_bias.emplace_back(token, -3e38f);
    options.logit_bias.emplace_back(token, -3e38f);
  }
  EXPECT_THAT(Tokens(options, {1, 2, 3, 4}).size(), testing::Ge(1));
  EXPECT_EQ(Greedy(options, {1, 2, 3, 4}), 0) << "all stand at the limit";
}

TEST(SamplerTest, PenaltiesDoNotBanTheLastToken) {
  SamplingOptions options = Plain();
  options.repetition_penalty = 100;
  options.frequency_penalty = 100;
  options.presence_penalty = 100;
  options.logit_bias = {{0, kBan}, {1, kBan}, {2, -3e38f}, {3, kBan}};
  for (const float logit : {1.0f, -3e38f, 3e38f}) {
    EXPECT_THAT(Tokens(options, {1, 2, logit, 4}, 50), ElementsAre(2)) << logit;
  }
}

TEST(SamplerTest, PenaltiesDoNotLiftABan) {
  SamplingOptions options = Plain();
  options.repetition_penalty = 0.01f;
  options.frequency_penalty = -100;
  options.logit_bias = {{1, kBan}};
  EXPECT_EQ(Greedy(options, {-3, 9, -1}, {1}), 2);
}

TEST(SamplerTest, SaysWhenNoTokenIsLeft) {
  for (const int top_k : {0, 1, 2}) {
    for (const float temperature : {0.0f, 1.0f}) {
      SamplingOptions options{.temperature = temperature, .top_k = top_k};
      options.logit_bias = {{0, kBan}, {1, kBan}};
      std::vector<float> logits = {1, 2, 3};
      Sampler sampler(options, std::vector<int32_t>{2}, {}, 0);
      const absl::Status status = sampler.Sample(KnownRow(logits).For(sampler)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
      EXPECT_EQ(GetErrorDetail(status).reason, "NO_TOKEN_LEFT");
      EXPECT_THAT(logits, ElementsAre(1, 2, 3)) << "restored";
    }
  }
}

TEST(SamplerTest, FoldsToOneEntryAToken) {
  std::vector<std::pair<int32_t, float>> bias;
  for (int i = 0; i < 100000; ++i) bias.emplace_back(i % 3, i % 3 == 2 ? kBan : 0.5f);
  const TokenBiases folded = FoldBiases(bias, std::vector<int32_t>{2, 7, 7});
  EXPECT_THAT(folded.added, testing::UnorderedElementsAre(testing::Pair(0, 16667.0f),
                                                          testing::Pair(1, 16666.5f)));
  EXPECT_THAT(folded.banned, testing::UnorderedElementsAre(2, 7));
}

TEST(SamplerTest, RefusesLogitsThatAreNotFinite) {
  std::vector<float> logits = {1, 2};
  RowLogits bad = KnownRow(logits).Best();
  bad.max = bad.log_sum = std::numeric_limits<float>::quiet_NaN();
  for (float temperature : {0.0f, 1.0f}) {
    const absl::Status status =
        Sampler({.temperature = temperature}, {}, {}, 0).Sample(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(GetErrorDetail(status).reason, "MODEL_NOT_FINITE");
  }
}

}  // namespace
}  // namespace softsplice
