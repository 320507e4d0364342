// See row_cost.h.
#include "decoder_svc/engine/row_cost.h"

#include <algorithm>

namespace softsplice {
namespace {

constexpr double kThousand = 1000;

}  // namespace

void RowCost::Add(const PromptRows& rows, double seconds) {
  constexpr double kForget = 0.995;  // the last 200 steps count most
  if (rows.count == 0 || seconds <= 0) return;
  const double count = rows.count, positions = rows.positions / kThousand;
  for (double* sum : {&rows_rows_, &rows_positions_, &positions_positions_, &rows_seconds_,
                      &positions_seconds_}) {
    *sum *= kForget;
  }
  rows_rows_ += count * count / seconds;
  rows_positions_ += count * positions / seconds;
  positions_positions_ += positions * positions / seconds;
  rows_seconds_ += count;
  positions_seconds_ += positions;
  Solve();
}

void RowCost::Solve() {
  // Steps at one position can't tell the parts from one another: a hundredth of all counts as if it
  // had been read at position 1,000, too, and had cost no more there.
  constexpr double kPrior = 0.01;
  const double squares = positions_positions_ + kPrior * rows_rows_;
  const double constant = rows_seconds_ * squares - rows_positions_ * positions_seconds_;
  const double growing = rows_rows_ * positions_seconds_ - rows_positions_ * rows_seconds_;
  // Else chance has it that rows get cheaper on the way, or are free at its beginning.
  const bool sound = constant > 0 && growing > 0;
  growth_ = sound ? growing / constant / kThousand : 0;
}

}  // namespace softsplice
