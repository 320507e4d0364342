// What is known of one row of logits.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/specs.h"

namespace softsplice {

// As Backend::TopLogits gives it, with as many candidates as it gives at most, or all the
// vocabulary where that is smaller.
struct RowLogits {
  absl::Span<const int32_t> ids;
  absl::Span<const float> values;
  float max = 0;      // NaN: the logits are not finite
  float log_sum = 0;  // of all e^logit
  // [vocabulary], for those who asked for them; may be written to.
  absl::Span<float> all;
};

}  // namespace softsplice
