#include "decoder_svc/kv/kv_shape.h"

#include <algorithm>

namespace softsplice {
namespace {

// Long enough that attention reads long runs, short enough that a short sequence wastes little.
constexpr int kBlockRows = 128;

constexpr int DivideUp(int a, int b) { return (a + b - 1) / b; }

// That `positions` in a row touch, wherever they begin.
constexpr int BlocksTouched(int positions) { return DivideUp(positions - 1, kBlockRows) + 1; }

}  // namespace

KvShape KvShape::Least(int sequences, int context_length, int window, int chunk) {
  const int kept = std::max(window - 1, 0) + kTemplateTail;
  const int per_slot = DivideUp(context_length, kBlockRows);
  // BlocksTouched(kept + rows of the step) of each sequence, summed up.
  const int rows = chunk + sequences;
  const int most = DivideUp(sequences * kept + rows, kBlockRows) + 2 * sequences;
  return {.block_rows = kBlockRows,
          .slots = sequences,
          .window = kept,
          .full_blocks = per_slot,
          .sliding_blocks = std::min(most, sequences * per_slot),
          .full_per_slot = per_slot,
          .sliding_per_slot = std::min(BlocksTouched(kept + chunk), per_slot)};
}

int KvShape::BlocksOfWindow() const { return std::min(BlocksTouched(window), full_per_slot); }

}  // namespace softsplice
