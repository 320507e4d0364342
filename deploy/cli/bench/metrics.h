// What a run of requests says of a service.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "deploy/cli/bench/record.h"
#include "deploy/cli/bench/statistics.h"

namespace softsplice::bench {

// The part of a run that counts.
struct Window {
  absl::Duration begin;
  absl::Duration end;
  // Nothing of the run's begin and end is in it, when the load was not what it should be.
  bool steady = false;

  bool Contains(absl::Duration moment) const { return begin <= moment && moment <= end; }
};

// From `ramp` after the first request was sent to `drain` before the last one was; each is a tenth
// of that time where it is not given. It is the whole run, and not steady, where no request was
// sent in it, or none was completed.
Window SteadyWindow(const std::vector<Record>& records, std::optional<absl::Duration> ramp,
                    std::optional<absl::Duration> drain);

// From the first request to the end of the last.
Window WholeWindow(const std::vector<Record>& records);

// The most that a request may take to count as good, in milliseconds.
struct Targets {
  double ttft = std::numeric_limits<double>::infinity();
  double tpot = std::numeric_limits<double>::infinity();
  double e2el = std::numeric_limits<double>::infinity();
};

// Times and counts are of the requests sent in the window, however they ended; rates are of what
// happened in the window, whenever it was asked for. Times are in milliseconds, rates per second.
struct Metrics {
  absl::Duration duration;
  int completed = 0;
  int failed = 0;
  int abandoned = 0;
  std::map<std::string, int> failures;  // by Record::failure
  // Of completed requests:
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of these, not read again
  int64_t output_tokens = 0;

  double requests_rate = 0;  // completed
  double good_rate = 0;      // completed, and within all targets
  double output_rate = 0;    // tokens that came
  double prompt_rate = 0;    // tokens of prompts whose first token came

  Summary ttft;                     // from sending to the first token
  Summary queued, encode, prefill;  // of that, as the service tells it
  Summary tpot;           // (end - first token) / (tokens - 1), where there are two tokens
  Summary itl;            // between messages that bring tokens
  Summary itl_per_token;  // the same, divided evenly among the tokens of the later message
  Summary e2el;           // from sending to the end
  Summary failed_after;   // from sending to the failure
  Summary lateness;       // from when a request was due to when it was sent: our own fault
};

Metrics Measure(const std::vector<Record>& records, const Window& window, const Targets& targets);

}  // namespace softsplice::bench
