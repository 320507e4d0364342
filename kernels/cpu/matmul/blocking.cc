#include "kernels/cpu/matmul/blocking.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

constexpr double kFirstLevelBytes = 16 << 10;    // half a common first-level cache
constexpr double kSecondLevelBytes = 192 << 10;  // half a common second-level cache
constexpr double kStreamBytes = 128 << 10;       // of weights: enough to hide starting a task
constexpr int kLeastPanels = 8;                  // activations are packed once for so many
constexpr int kTasksPerThread = 4;               // so that a slow thread can be helped

int CeilDiv(int a, int b) { return (a + b - 1) / b; }
int RoundUp(int a, int b) { return CeilDiv(a, b) * b; }

// Inputs per step: an expanded panel (a float per weight where weights are expanded at all) fills
// its share of the first-level cache.
int DepthBlock(const MatmulShape& shape) {
  if (shape.rows <= shape.stream_rows) return shape.depth;
  const double expanded = shape.input_bytes >= 4 ? 4 : 1;
  const int fit = static_cast<int>(kFirstLevelBytes / (expanded * shape.panel));
  const int steps = CeilDiv(shape.depth, std::max(shape.depth_unit, fit));
  return std::min(shape.depth, RoundUp(CeilDiv(shape.depth, steps), shape.depth_unit));
}

}  // namespace

int Blocking::RowTasks(const MatmulShape& shape) const { return CeilDiv(shape.rows, row_block); }
int Blocking::OutTasks(const MatmulShape& shape) const { return CeilDiv(shape.outs, out_block); }

std::string Blocking::DebugString() const {
  return absl::StrCat("rows ", row_block, " outs ", out_block, " depth ", depth_block);
}

Blocking ChooseBlocking(const MatmulShape& shape) {
  Blocking blocking;
  blocking.depth_block = DepthBlock(shape);

  const int fit = static_cast<int>(kSecondLevelBytes / (shape.input_bytes * blocking.depth_block));
  int row_tasks = CeilDiv(shape.rows, std::max(shape.tile_rows, fit));
  if (row_tasks > 1) row_tasks = RoundUp(row_tasks, shape.threads);
  const int row_block = RoundUp(CeilDiv(shape.rows, row_tasks), shape.tile_rows);
  blocking.row_block = std::min(shape.rows, row_block);
  row_tasks = blocking.RowTasks(shape);

  // Outputs are split as far as the threads need it, but not into trifles.
  const int panels = CeilDiv(shape.outs, shape.panel);
  const double panel_bytes = shape.weight_bytes * shape.panel * shape.depth;
  const int least = shape.rows <= shape.stream_rows
                        ? std::max(1, static_cast<int>(kStreamBytes / panel_bytes))
                        : kLeastPanels;
  const int wanted = CeilDiv(kTasksPerThread * shape.threads, row_tasks);
  const int out_tasks = std::clamp(panels / least, 1, wanted);
  blocking.out_block = CeilDiv(panels, out_tasks) * shape.panel;
  return blocking;
}

}  // namespace softsplice
