// See scheduler.h.
#include "decoder_svc/engine/scheduler.h"

#include <algorithm>

namespace softsplice {
namespace {

// Fewer cost a step about as much, as the weights are read anyway.
constexpr int kLeastBudget = 16;

int LeftAfter(const Turn& turn) { return turn.prompt_left - turn.rows; }

void Give(Turn& turn, int most, int& budget) {
  const int rows = std::min({LeftAfter(turn), most, budget});
  turn.rows += rows;
  budget -= rows;
}

// The one with something left that comes first by `key`, the older one of equals; null: none.
template <class Key>
Turn* First(absl::Span<Turn> turns, Key key) {
  Turn* first = nullptr;
  for (Turn& turn : turns) {
    if (LeftAfter(turn) > 0 && (first == nullptr || key(turn) < key(*first))) first = &turn;
  }
  return first;
}

}  // namespace

int PromptBudget(int writing, const StepLimits& limits, double best_rows_per_second) {
  if (writing == 0) return limits.chunk;
  const double fits = best_rows_per_second * absl::ToDoubleSeconds(limits.stall_target);
  return static_cast<int>(std::min<double>(std::max<double>(fits, kLeastBudget), limits.chunk));
}

void PlanStep(absl::Span<Turn> turns, const StepLimits& limits, double best_rows_per_second) {
  int writing = 0;
  for (Turn& turn : turns) {
    turn.rows = turn.prompt_left == 0 ? 1 : 0;
    writing += turn.rows;
  }
  int budget = PromptBudget(writing, limits, best_rows_per_second);
  Turn* const next = First(turns, [](const Turn& turn) { return turn.spent; });
  if (next != nullptr) Give(*next, (budget + 1) / 2, budget);
  while (budget > 0) {
    Turn* const shortest = First(turns, LeftAfter);
    if (shortest == nullptr) break;
    Give(*shortest, budget, budget);
  }
}

}  // namespace softsplice
