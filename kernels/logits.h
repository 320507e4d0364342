// Passes over all logits of a vocabulary: a quarter of a million numbers a token, so these loops
// are written for the vectoriser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace softsplice {

struct ScoredToken {
  float logit;
  int32_t token;
};

// The largest one. NaN if any is not finite.
float FiniteMax(absl::Span<const float> logits);

// Sum of exp((logit - max) * scale), relative error under 1e-6. `max` is at least the largest
// logit; -infinity counts nothing.
double SumExp(absl::Span<const float> logits, float max, float scale);

// The `count` largest ones, best first, of equal ones the smaller token first; those of -infinity
// are left out.
void BestLogits(absl::Span<const float> logits, size_t count, std::vector<ScoredToken>* best);

}  // namespace softsplice
