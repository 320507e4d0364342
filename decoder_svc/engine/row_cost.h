// How much more a row of a prompt costs the farther in it is, as measured: a part of its cost is
// the same for all rows, and a part grows with all that is before it, which attention reads.
#pragma once

#include <cstdint>

namespace softsplice {

// Rows of prompts that a step read.
struct PromptRows {
  int count = 0;
  int64_t positions = 0;  // the sum of theirs
};

// Both parts by least squares over the last few hundred steps. A step's error counts by its square
// over its time, as if each second of it had an error of its own. Not thread-safe.
class RowCost {
 public:
  // Reading `rows` took `seconds`.
  void Add(const PromptRows& rows, double seconds);

  // How many rows with nothing before them the row at `position` is worth, at least 1.
  double Weight(int position) const { return 1 + growth_ * position; }
  double Weight(const PromptRows& rows) const { return rows.count + growth_ * rows.positions; }

 private:
  void Solve();

  // Sums over steps: of products of rows, positions in thousands and seconds.
  double rows_rows_ = 0, rows_positions_ = 0, positions_positions_ = 0;
  double rows_seconds_ = 0, positions_seconds_ = 0;
  double growth_ = 0;
};

}  // namespace softsplice
