// What a client saw of one request.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace softsplice::bench {

// A message of the stream that brought tokens.
struct Arrival {
  absl::Duration at;
  int tokens = 0;
};

// Moments are SteadyNow()'s.
struct Record {
  absl::Duration due;   // when it should have been sent
  absl::Duration sent;  // when it was
  absl::Duration end;   // its last message, or its failure
  std::vector<Arrival> arrivals;
  // Why it failed: code and reason; empty if it was completed.
  std::string failure;
  // Ended by ourselves, because of a signal: neither completed nor failed.
  bool abandoned = false;
  // As the service tells them at the end of a completed request; nothing: it does not tell.
  int prompt_tokens = 0;
  int cached_tokens = 0;
  std::optional<absl::Duration> queued;
  std::optional<absl::Duration> encode;
  std::optional<absl::Duration> prefill;

  bool completed() const { return failure.empty() && !abandoned; }
  int tokens() const {
    int sum = 0;
    for (const Arrival& arrival : arrivals) sum += arrival.tokens;
    return sum;
  }
};

}  // namespace softsplice::bench
