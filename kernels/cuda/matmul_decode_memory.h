// What the decode kernel has in shared memory.
#pragma once

#include "kernels/cuda/matmul_decode_x.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/tile.h"

namespace softsplice::cuda {

// The slices' sums of one tile of eight tokens. Rows of 20: no two lanes meet in a bank.
template <int kStrips>
struct SliceSums {
  float of[kSlices][kStrips][8][20];
};

// A tile of each strip, and what it is multiplied by.
template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
struct DecodeSlot {
  OwnTile<kFormat> weights[kStrips];
  DecodedX<kInput, kTokenTiles, Layout<kFormat>::kColumns> x;
};

// Each warp has several of them on their way: memory wants 32 KB or more from a multiprocessor.
// (Registers would not do: loads of several tiles share a scoreboard, so that who waits for the
// first one waits for all.)
template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
struct DecodeMemory {
  using Slot = DecodeSlot<kFormat, kInput, kStrips, kTokenTiles>;
  using Sums = SliceSums<kStrips>[2];
  static constexpr size_t kMost = kTokenTiles == 1 ? kSharedOfMultiprocessor / 2 : kSharedOfBlock;
  static constexpr int kSlots = static_cast<int>((kMost - sizeof(Sums)) / (kSlices * sizeof(Slot)));
  static_assert(kSlots > 1);

  Slot ring[kSlices][kSlots];
  Sums sums;
};

}  // namespace softsplice::cuda
