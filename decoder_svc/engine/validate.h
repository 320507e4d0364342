// What a request to the engine must look like.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/request.h"

namespace softsplice {

// Most alternatives that a request may ask for.
inline constexpr int kMaxAlternatives = 20;

struct RequestLimits {
  int vocabulary_size = 0;
  int dim = 0;
  int context_length = 0;
  absl::Span<const int32_t> banned_tokens;
};

// INVALID_ARGUMENT or OUT_OF_RANGE; the message names the field, its value and the limit.
absl::Status ValidateRequest(const EngineRequest& request, const RequestLimits& limits);
// The same for everything but the prompt: can be told before there is one.
absl::Status ValidateOptions(const EngineRequest& request, const RequestLimits& limits);

}  // namespace softsplice
