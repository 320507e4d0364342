// Requests that came to a service once, to be sent again: when, and how long they were.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace softsplice::bench {

struct TracedRequest {
  absl::Duration after;  // the one before it
  int prompt_tokens = 0;
  int answer_tokens = 0;
  // What the prompt begins with, so many tokens each: equal numbers are equal text.
  static constexpr int kTokensOfBlock = 512;
  std::vector<uint64_t> blocks;
};

// Of Mooncake's format, in which traces of several services are published: a line of JSON for each
// request, with `timestamp` (ms), `input_length`, `output_length` and, if it says what prompts
// share, `hash_ids`. INVALID_ARGUMENT names the line and the field.
absl::StatusOr<std::vector<TracedRequest>> ParseTrace(absl::string_view text);

}  // namespace softsplice::bench
