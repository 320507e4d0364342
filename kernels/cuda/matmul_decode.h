// y = x W^T for 1 to 64 rows of x (tokens): memory is the limit, so weights are read once, a
// strip's columns by the warps of one block. x [tokens, cols] bfloat16 or float32, y [tokens,
// outs]; a block takes kStrips strips and all of their columns, then the next ones in turn.
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

// The slices of one half of the columns, in order.
template <int kStrips>
__device__ __forceinline__ float HalfSum(const SliceSums<kStrips>& slices, int first, int strip,
                                         int token, int row) {
  float sum = 0;
  for (int slice = first; slice < first + kSlices / 2; ++slice) {
    sum += slices.of[slice][strip][token][row];
  }
  return sum;
}

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

// What a warp has the L2 fetch while it waits for its predecessors, at most: 17 MB in all on a
// device of 132 multiprocessors with two blocks each.
inline constexpr int kPrefetchedBytes = 8 << 10;

template <Format kFormat>
__device__ void Prefetch(const uint8_t* strip, int first_tile, int end_tile, int most_bytes) {
  constexpr int kBytes = static_cast<int>(Layout<kFormat>::kTileBytes);
  const int bytes = min((end_tile - first_tile) * kBytes, most_bytes);
  if (bytes > 0) PrefetchL2(strip + static_cast<size_t>(first_tile) * kBytes, bytes);
}

// A warp's way through its slice of the columns of all strips that the block has: some tiles of
// some strips, then those of the next ones. Copies run ahead of use.
template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
class Walk {
 public:
  using Memory = DecodeMemory<kFormat, kInput, kStrips, kTokenTiles>;
  using Slot = typename Memory::Slot;
  static constexpr int kAhead = Memory::kSlots - 1;

  __device__ __forceinline__ Walk(const Product& p, Slot (&ring)[Memory::kSlots], int slice)
      : p_(p),
        ring_(ring),
        x_(p.x, FirstToken(), Lane()),
        first_(p.FirstChunk(slice) * kTilesOfChunk),
        end_(p.FirstChunk(slice + 1) * kTilesOfChunk),
        next_{first_, 0, Rounds() * (end_ - first_)} {
    FindStrips();
  }

  // What can begin before the kernel waits, and what must come after that.
  __device__ __forceinline__ void BeginWeights() {
    Place at = next_;
#pragma unroll 1
    for (int i = 0; i < kAhead && at.left > 0; ++i) CopyWeights(at);
    if (Lane() != 0) return;
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      Prefetch<kFormat>(StripOf<kStrips>(p_, blockIdx.y, i), first_, end_,
                        kPrefetchedBytes / kStrips);
    }
  }
  __device__ __forceinline__ void BeginX() {
#pragma unroll 1
    for (int i = 0; i < kAhead; ++i) {
      if (next_.left > 0) CopyX();
      CommitCopies();
    }
  }
  // The next tiles, in the same order. Those before them are done with.
  __device__ __forceinline__ const Slot& Take() {
    WaitForCopies<kAhead - 1>();
    __syncwarp();  // for all lanes; and none is at the slot before any more
    if (next_.left > 0) {
      Place at = next_;
      CopyX();
      CopyWeights(at);
    }
    CommitCopies();
    const Slot& slot = ring_[taken_];
    taken_ = After(taken_);
    return slot;
  }

  // Of a strip.
  __device__ int tiles() const { return end_ - first_; }
  // How many times the block takes strips.
  __device__ int Rounds() const {
    const int all = p_.Blocks<kStrips>();
    return (all - static_cast<int>(blockIdx.y) + static_cast<int>(gridDim.y) - 1) /
           static_cast<int>(gridDim.y);
  }
  static __device__ int FirstToken() { return static_cast<int>(blockIdx.x) * 8 * kTokenTiles; }

 private:
  static constexpr int kColumns = Layout<kFormat>::kColumns;
  static constexpr int kTilesOfChunk = kChunk / kColumns;
  // Tile `at`, which goes to slot `slot`; and how many there are from it on.
  struct Place {
    int at, slot, left;
  };

  static __device__ int Lane() { return threadIdx.x % 32; }
  static __device__ __forceinline__ int After(int slot) {
    return slot + 1 == Memory::kSlots ? 0 : slot + 1;
  }
  __device__ __forceinline__ void FindStrips() {
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      strips_[i] = StripOf<kStrips>(p_, index_, i);
      tiles_[i] = strips_[i] + static_cast<size_t>(first_) * Layout<kFormat>::kTileBytes;
    }
  }
  __device__ __forceinline__ void Advance(Place& place) const {
    place.slot = After(place.slot);
    place.at = place.at + 1 == end_ ? first_ : place.at + 1;
    --place.left;
  }
  __device__ __forceinline__ void CopyWeights(Place& place) {
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      ring_[place.slot].weights[i].Begin(
          tiles_[i], strips_[i] + p_.tiles_bytes + SuperOffset<kFormat>(place.at), Lane());
      tiles_[i] += Layout<kFormat>::kTileBytes;
    }
    Advance(place);
    if (place.at != first_) return;
    index_ += static_cast<int>(gridDim.y);
    FindStrips();
  }
  __device__ __forceinline__ void CopyX() {
    ring_[next_.slot].x.Begin(x_, next_.at * kColumns, Lane());
    Advance(next_);
  }

  using X = DecodedX<kInput, kTokenTiles, kColumns>;

  const Product& p_;
  Slot (&ring_)[Memory::kSlots];
  const typename X::Source x_;
  const int first_, end_;
  int index_ = static_cast<int>(blockIdx.y);  // of the strips whose weights are copied next
  const uint8_t* strips_[kStrips];            // where those begin
  const uint8_t* tiles_[kStrips];             // and their next tiles
  Place next_;
  int taken_ = 0;
};

// A warp is a slice of the columns.
template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
__global__ void __launch_bounds__(kMatmulThreads, kTokenTiles == 1 ? 2 : 1)
    DecodeMatmul(Product all) {
  const Product p = all.Own();
  if (static_cast<int>(blockIdx.y) >= p.Blocks<kStrips>()) {
    return WaitForPrevious();  // the blocks are as many as the largest of the products needs
  }
  auto& memory = Shared<DecodeMemory<kFormat, kInput, kStrips, kTokenTiles>>();
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  Walk<kFormat, kInput, kStrips, kTokenTiles> walk(p, memory.ring[slice], slice);
  walk.BeginWeights();
  WaitForPrevious();  // the first weights are on their way
  walk.BeginX();

  int buffer = 0;
  const int rounds = walk.Rounds();
  for (int round = 0; round < rounds; ++round) {
    float sum[kTokenTiles][kStrips][4] = {};
    for (int i = walk.tiles(); i > 0; --i) {
      const auto& slot = walk.Take();
      Tile<kFormat> tiles[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) tiles[strip] = slot.weights[strip].Load(lane);
      AddTile<kFormat, kPartsOf<kInput>>(sum, tiles, slot.x);
    }
#pragma unroll
    for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
      const int first_token = walk.FirstToken() + token_tile * 8;
      if (first_token >= p.x.rows) break;
      auto& sums = memory.sums[buffer];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums.of[slice][strip][2 * t + i % 2][g + i / 2 * 8] = sum[token_tile][strip][i];
        }
      }
      __syncthreads();
      // Half of the warps in turn, while the others go on.
      const int worker = static_cast<int>(threadIdx.x) - buffer * 8 * kStripRows;
      buffer = 1 - buffer;
      if (worker < 0 || worker >= 8 * kStripRows) continue;
      const int row = worker % kStripRows, token = worker / kStripRows;
      float totals[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) {
        totals[strip] =
            HalfSum(sums, 0, strip, token, row) + HalfSum(sums, kSlices / 2, strip, token, row);
      }
      Finish<kStrips>(p, static_cast<int>(blockIdx.y + round * gridDim.y), row, first_token + token,
                      totals);
    }
  }
}

}  // namespace softsplice::cuda
