// See scheduler.h.
#include "decoder_svc/engine/scheduler.h"

#include <algorithm>
#include <cmath>

namespace softsplice {
namespace {

// Fewer cost a step about as much, as the weights are read anyway.
constexpr int kLeastBudget = 16;

// All that it can use.
int Most(const Turn& turn) { return std::max(turn.prompt_left, 1); }

int LeftAfter(const Turn& turn) { return turn.prompt_left - turn.rows; }

// Up to `most` of the budget, in whole rows, but one where that is less.
void Give(Turn& turn, double most, double& budget) {
  const int fit = static_cast<int>(std::min(most, budget) / turn.weight);
  const int rows = std::min(LeftAfter(turn), std::max(fit, 1));
  turn.rows += rows;
  budget -= rows * turn.weight;
}

// Who shares what is left, one class after the other.
enum class Class : uint8_t { kNormal, kBatch, kAhead };

Class ClassOf(const Turn& turn) {
  if (turn.ahead) return Class::kAhead;
  return turn.batch ? Class::kBatch : Class::kNormal;
}

// The one of a class with something left that comes first by `key`, the older one of equals; null:
// none.
template <class Key>
Turn* First(absl::Span<Turn> turns, Class those, Key key) {
  Turn* first = nullptr;
  for (Turn& turn : turns) {
    if (ClassOf(turn) != those || LeftAfter(turn) <= 0) continue;
    if (first == nullptr || key(turn) < key(*first)) first = &turn;
  }
  return first;
}

void SharePrompts(absl::Span<Turn> turns, Class those, double& budget) {
  Turn* const next = First(turns, those, [](const Turn& turn) { return turn.spent; });
  if (next != nullptr && budget > 0) Give(*next, std::ceil(budget / 2), budget);
  while (budget > 0) {
    Turn* const shortest = First(turns, those, LeftAfter);
    if (shortest == nullptr) break;
    Give(*shortest, budget, budget);
  }
}

}  // namespace

int PromptBudget(int writing, const StepLimits& limits, double rows_per_second) {
  if (writing == 0) return limits.chunk;
  const double fits = rows_per_second * absl::ToDoubleSeconds(limits.stall_target);
  return static_cast<int>(std::min<double>(std::max<double>(fits, kLeastBudget), limits.chunk));
}

void PlanStep(absl::Span<Turn> turns, const StepLimits& limits, double rows_per_second,
              int batch_due) {
  int writing = 0, batch_most = 0;
  for (Turn& turn : turns) {
    turn.rows = turn.prompt_left == 0 && !turn.batch ? 1 : 0;
    writing += turn.rows;
    if (ClassOf(turn) == Class::kBatch) batch_most += Most(turn);
  }
  if (writing == 0) {
    for (Turn& turn : turns) turn.weight = 1;  // a chunk is one, wherever
  }
  double budget = PromptBudget(writing, limits, rows_per_second);
  const double for_batch = std::min<double>(std::min(batch_due, batch_most), budget);
  budget -= for_batch;
  SharePrompts(turns, Class::kNormal, budget);
  budget += for_batch;
  for (Turn& turn : turns) {
    if (turn.prompt_left > 0 || !turn.batch || budget <= 0) continue;
    turn.rows = 1;
    --budget;
  }
  SharePrompts(turns, Class::kBatch, budget);
  SharePrompts(turns, Class::kAhead, budget);
}

void BatchShare::OnPlan(absl::Span<const Turn> turns) {
  bool more = false;
  for (const Turn& turn : turns) {
    owed_ += turn.rows;
    if (ClassOf(turn) != Class::kBatch) continue;
    owed_ -= kOneIn * turn.rows;
    more = more || turn.rows < Most(turn);
  }
  owed_ = more ? std::max<int64_t>(owed_, 0) : 0;
}

}  // namespace softsplice
