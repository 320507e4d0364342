// Passes over all logits of a vocabulary: a quarter of a million numbers a token, so these loops
// are written for the vectoriser.
#pragma once

#include "absl/types/span.h"

namespace softsplice {

// The largest one. NaN if any is not finite.
float FiniteMax(absl::Span<const float> logits);

// Sum of exp((logit - max) * scale), relative error under 1e-6. `max` is at least the largest
// logit; -infinity counts nothing.
double SumExp(absl::Span<const float> logits, float max, float scale);

}  // namespace softsplice
