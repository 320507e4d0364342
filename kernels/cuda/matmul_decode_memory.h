// What the decode kernel has in shared memory.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_decode_x.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/tile.h"

namespace softsplice::cuda {

// The slices' sums of one tile of up to eight tokens. Rows of 20: no two lanes meet in a bank.
template <int kStrips, int kTokens>
struct SliceSums {
  float of[kSlices][kStrips][kTokens < 8 ? kTokens : 8][20];
};

// Some tiles of each strip, and what they are multiplied by.
template <Format kFormat, Input kInput, int kStrips, int kTokens>
struct DecodeSlot {
  using L = Layout<kFormat>;
  // What is done once a slot is dear beside the few instructions that a tile of codes takes, where
  // x is small. (A slice of 2,560 columns has five tiles.)
  static constexpr int kMost = std::min(5, static_cast<int>(3500 / (kStrips * L::kTileBytes)));
  static constexpr int kMostOfSuper = kMost >= 4 ? 4 : kMost >= 2 ? 2 : 1;
  static constexpr bool kHasMany = L::kHasScale && kTokens == 1;
  static constexpr int kTiles = !kHasMany ? 1 : L::kHasSuper ? kMostOfSuper : kMost;
  static constexpr int kColumns = kTiles * L::kColumns;
  static_assert(!L::kHasSuper || kSuperColumns % kColumns == 0);
  using X = DecodedX<kInput, kTokens, kColumns>;

  SomeTiles<kFormat, kTiles> weights[kStrips];
  X x;
};

// Each warp has several of them on their way: memory wants 32 KB or more from a multiprocessor.
// (Registers would not do: loads of several tiles share a scoreboard, so that who waits for the
// first one waits for all.)
template <Format kFormat, Input kInput, int kStrips, int kTokens>
struct DecodeMemory {
  using Slot = DecodeSlot<kFormat, kInput, kStrips, kTokens>;
  struct Besides {
    SliceSums<kStrips, kTokens> sums[2];
    alignas(16) typename Slot::X::Number zeroes[kTokens == 1 ? Slot::kColumns : 1];
  };
  // Minimums, or super scales of two strips or beside float32, leave no registers for three blocks.
  static constexpr bool kIsLarge =
      Slot::L::kHasMin || (Slot::L::kHasSuper && (kStrips == 2 || kInput == Input::kFloat32));
  static constexpr int kBlocksOfARow = kIsLarge ? 2 : 3;
  static constexpr int kBlocks = kTokens > 8 ? 1 : kTokens == 8 ? 2 : kBlocksOfARow;
  static constexpr size_t kMost = kBlocks == 1 ? kSharedOfBlock : kSharedOfMultiprocessor / kBlocks;
  static constexpr int kSlots =
      static_cast<int>((kMost - sizeof(Besides)) / (kSlices * sizeof(Slot)));
  static_assert(kSlots > 1);

  Slot ring[kSlices][kSlots];
  Besides besides;
};

}  // namespace softsplice::cuda
