// See sampler.h.
#include "decoder_svc/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/algorithm/container.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/noise.h"

namespace softsplice {
namespace {

// Under this, only equal logits still share; the inverse stays finite.
constexpr float kLeastTemperature = 1e-6f;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// More than any logit, and penalties can't make it overflow.
constexpr double kMostBias = 1e9;

// What is finite stays so: -infinity is for bans alone.
float Finite(float x) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return std::clamp(x, -kMost, kMost);
}

float LogitOf(const RowLogits& logits, int32_t token) {
  if (!logits.all.empty()) return logits.all[token];
  return logits.values[absl::c_find(logits.ids, token) - logits.ids.begin()];
}

}  // namespace

TokenBiases FoldBiases(absl::Span<const std::pair<int32_t, float>> logit_bias,
                       absl::Span<const int32_t> banned) {
  absl::flat_hash_map<int32_t, double> sums;
  for (const auto& [token, bias] : logit_bias) sums[token] += bias;
  for (const int32_t token : banned) sums[token] = kMinusInfinity;
  TokenBiases folded;
  for (const auto& [token, sum] : sums) {
    if (sum > kMinusInfinity) {
      folded.added.emplace_back(token, std::clamp(sum, -kMostBias, kMostBias));
    } else {
      folded.banned.push_back(token);
    }
  }
  return folded;
}

Sampler::Sampler(const SamplingOptions& options, absl::Span<const int32_t> banned,
                 absl::Span<const int32_t> prompt, int alternatives)
    : options_(options),
      biases_(FoldBiases(options.logit_bias, banned)),
      alternatives_(alternatives),
      scale_(1 / std::max(options.temperature, kLeastTemperature)),
      penalties_(options.repetition_penalty != 1 || options.frequency_penalty != 0 ||
                 options.presence_penalty != 0) {
  const bool greedy = options.temperature == 0;
  const size_t wanted = greedy ? 1 : options.top_k;
  needs_all_ = penalties_ || !biases_.added.empty() || wanted == 0 ||
               wanted + biases_.banned.size() > kMostTopLogits;
  options_.logit_bias = {};
  if (options.repetition_penalty != 1) {
    for (int32_t token : prompt) seen_.emplace(token, 0);
  }
}

absl::StatusOr<SampledToken> Sampler::Sample(const RowLogits& logits) {
  if (std::isnan(logits.max)) {
    return MakeError(absl::StatusCode::kInternal, "the model's logits are not finite",
                     {.reason = reason::kModelNotFinite});
  }
  const auto entry = [&](int32_t token) {
    return TokenLogprob{token, LogitOf(logits, token) - logits.log_sum};
  };
  SampledToken sampled;
  for (int32_t token : logits.ids.subspan(0, alternatives_)) {
    sampled.alternatives.push_back(entry(token));
  }
  if (!logits.all.empty()) Adjust(logits.all);
  const absl::StatusOr<int32_t> token = Choose(logits);
  Restore(logits.all);
  RETURN_IF_ERROR(token.status());
  sampled.chosen = entry(*token);
  if (penalties_) ++seen_[*token];
  ++index_;
  return sampled;
}

void Sampler::Set(absl::Span<float> logits, int32_t token, float value) {
  originals_.emplace_back(token, logits[token]);
  logits[token] = value;
}

void Sampler::Adjust(absl::Span<float> logits) {
  for (const auto& [token, bias] : biases_.added) Set(logits, token, Finite(logits[token] + bias));
  if (penalties_) {
    const float repetition = options_.repetition_penalty;
    for (const auto& [token, count] : seen_) {
      float x = logits[token];
      x = x > 0 ? x / repetition : x * repetition;
      if (count > 0) {
        x -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
      }
      Set(logits, token, Finite(x));
    }
  }
  for (const int32_t token : biases_.banned) Set(logits, token, kMinusInfinity);
}

// Backwards, so that a token that was set twice ends with its first value.
void Sampler::Restore(absl::Span<float> logits) {
  for (auto it = originals_.rbegin(); it != originals_.rend(); ++it) logits[it->first] = it->second;
  originals_.clear();
}

void Sampler::Best(const RowLogits& logits, size_t count) {
  if (!logits.all.empty()) return BestLogits(logits.all, count, &best_);
  best_.clear();
  for (size_t i = 0; i < logits.ids.size() && best_.size() < count; ++i) {
    if (absl::c_linear_search(biases_.banned, logits.ids[i])) continue;
    best_.push_back({logits.values[i], logits.ids[i]});
  }
}

absl::StatusOr<int32_t> Sampler::Choose(const RowLogits& logits) {
  const bool greedy = options_.temperature == 0;
  Best(logits, greedy || options_.top_k == 0 ? 1 : options_.top_k);
  if (best_.empty()) {
    return MakeError(absl::StatusCode::kInternal, "every token of the vocabulary is banned",
                     {.reason = reason::kNoTokenLeft});
  }
  if (greedy || options_.top_k == 1) return best_.front().token;
  const float max = best_.front().logit;
  if (options_.top_k > 0) {
    double total = 0;
    for (const ScoredToken& c : best_) total += std::exp((c.logit - max) * scale_);
    return Draw(max, total);
  }
  if (options_.top_p >= 1 && options_.min_p <= 0) return DrawFromAll(logits.all, max);
  const double total = SumExp(logits.all, max, scale_);
  // A nucleus is mostly small: sort no more than it takes.
  for (size_t count = 256;; count *= 8) {
    Best(logits, count);
    if (best_.size() < count || count >= logits.all.size()) break;
    double mass = 0;
    for (const ScoredToken& c : best_) mass += std::exp((c.logit - max) * scale_);
    const double least = std::exp((best_.back().logit - max) * scale_);
    if (mass >= options_.top_p * total || least < options_.min_p) break;
  }
  return Draw(max, total);
}

// From best_: what top_p and min_p leave. A candidate weighs exp((logit - max) / temperature), 1 at
// most; `total` is the weight of all that top_p counts.
int32_t Sampler::Draw(float max, double total) const {
  const double nucleus =
      options_.top_p >= 1 ? std::numeric_limits<double>::infinity() : options_.top_p * total;
  GumbelDraw draw(options_.seed, index_);
  double mass = 0;
  for (size_t i = 0; i < best_.size() && (i == 0 || mass < nucleus); ++i) {
    const double x = (double{best_[i].logit} - max) * scale_, weight = std::exp(x);
    if (i > 0 && weight < options_.min_p) break;
    draw.Offer(best_[i].token, x);
    mass += weight;
  }
  return draw.winner();
}

int32_t Sampler::DrawFromAll(absl::Span<const float> logits, float max) const {
  GumbelDraw draw(options_.seed, index_);
  for (size_t i = 0; i < logits.size(); ++i) {
    draw.Offer(static_cast<int32_t>(i), (double{logits[i]} - max) * scale_);
  }
  return draw.winner();
}

}  // namespace softsplice
