// What the engine works on in one step: a pure function of who is there and of how fast rows go.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace softsplice {

// A sequence that can go on, as the planner sees it, and what it gets.
struct Turn {
  int prompt_left = 0;  // rows of its prompt that are not read; 0: it writes
  int64_t spent = 0;    // FairShare: of its client, so the same for all of a client's sequences
  bool batch = false;   // its priority
  bool ahead = false;   // it only reads, for a request that is not all there yet
  double weight = 1;    // of each row of its prompt: how many at a beginning it costs as much as
  int rows = 0;         // the plan
};

struct StepLimits {
  int chunk = 0;  // EngineOptions has what they mean
  absl::Duration stall_target;
};

// The rows that all prompts of a step share. Nobody writes: a chunk. Else what fits the stall
// target (see Pace), at least 16; those far into a prompt count as more than one. However many
// prompts wait: larger steps for a burst of them would read it hardly sooner, as a row costs about
// the same in each.
int PromptBudget(int writing, const StepLimits& limits, double rows_per_second);

// Sets the rows of `turns`, which are in order of age, the oldest first. Whoever writes gets its
// one row. Half of the prompts' budget goes to the client that had least, and there to its oldest
// prompt, so that a long one gets on; the rest goes to the prompts with the fewest rows left, so
// that it delays short ones little. Batch requests share what is left of the budget then, but at
// least `batch_due` of it, their answers first; what is read ahead gets the rest. If there is any
// turn, at least one row is given.
void PlanStep(absl::Span<Turn> turns, const StepLimits& limits, double rows_per_second,
              int batch_due);

// One row in twenty is a batch request's, however many normal ones want.
class BatchShare {
 public:
  // What batch requests are owed.
  int due() const { return static_cast<int>(owed_ / kOneIn); }
  // What was planned. Nothing is owed to requests that have all they can use.
  void OnPlan(absl::Span<const Turn> turns);

 private:
  static constexpr int64_t kOneIn = 20;
  int64_t owed_ = 0;  // twentieths of a row
};

}  // namespace softsplice
