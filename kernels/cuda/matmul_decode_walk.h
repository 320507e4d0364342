// How a warp of the decode kernel goes through its weights: several tiles are on their way while
// one is used.
#pragma once

#include "kernels/cuda/matmul_decode_memory.h"

namespace softsplice::cuda {

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

}  // namespace softsplice::cuda
