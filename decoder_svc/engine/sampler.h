// Picks the next token of one request.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/request.h"
#include "decoder_svc/engine/row_logits.h"
#include "kernels/logits.h"

namespace softsplice {

// What a request says about single tokens: each stands in one of the two lists, once.
struct TokenBiases {
  std::vector<std::pair<int32_t, float>> added;  // to its logit; at most 1e9 either way
  std::vector<int32_t> banned;
};

// Several biases of one token add up, in any order; -infinity bans it whatever else is said.
TokenBiases FoldBiases(absl::Span<const std::pair<int32_t, float>> logit_bias,
                       absl::Span<const int32_t> banned);

// In this order: bias, then penalties (repetition over prompt and answer: positive logits are
// divided, negative ones multiplied, as in transformers; frequency and presence over the answer:
// subtracted, times the count and once), bans, temperature, top_k, top_p, min_p; GumbelDraw takes
// one of those kept. The same options and logits give the same tokens. Not thread-safe.
class Sampler {
 public:
  // `prompt`: the ids that count for the repetition penalty. `alternatives`: kMostTopLogits at
  // most.
  Sampler(const SamplingOptions& options, absl::Span<const int32_t> banned,
          absl::Span<const int32_t> prompt, int alternatives);

  // Whether the best few logits don't suffice: Sample must be given all of them.
  bool needs_all() const { return needs_all_; }

  // All logits, where they are given, are written to and restored. INTERNAL: they are not finite
  // (MODEL_NOT_FINITE), or every token is banned (NO_TOKEN_LEFT).
  absl::StatusOr<SampledToken> Sample(const RowLogits& logits);

 private:
  void Adjust(absl::Span<float> logits);
  void Restore(absl::Span<float> logits);
  void Set(absl::Span<float> logits, int32_t token, float value);
  void Best(const RowLogits& logits, size_t count);  // fills best_, best first
  absl::StatusOr<int32_t> Choose(const RowLogits& logits);
  int32_t Draw(float max, double total) const;
  int32_t DrawFromAll(absl::Span<const float> logits, float max) const;

  SamplingOptions options_;  // without its biases, which are folded
  TokenBiases biases_;
  int alternatives_;
  float scale_;  // 1 / temperature
  bool penalties_;
  bool needs_all_;
  absl::flat_hash_map<int32_t, int> seen_;  // token: times in the answer
  std::vector<std::pair<int32_t, float>> originals_;
  std::vector<ScoredToken> best_;
  int index_ = 0;  // of the token that is next, in the answer
};

}  // namespace softsplice
