// How a warp of the decode kernel goes through its weights: several tiles are on their way while
// one is used.
#pragma once

#include "kernels/cuda/matmul_decode_memory.h"

namespace softsplice::cuda {

// What a warp has the L2 fetch while it waits for its predecessors, at most: 25 MB in all on a
// device of 132 multiprocessors with three blocks each.
inline constexpr int kPrefetchedBytes = 8 << 10;

// A warp's way through its slice of the columns of all strips that the block has: some tiles of
// some strips, then those of the next ones. Copies run ahead of use.
template <Format kFormat, Input kInput, int kStrips, int kTokens>
class Walk {
 public:
  using Memory = DecodeMemory<kFormat, kInput, kStrips, kTokens>;
  using Slot = typename Memory::Slot;
  static constexpr int kAhead = Memory::kSlots - 1;

  __device__ __forceinline__ Walk(const Product& p, Slot (&ring)[Memory::kSlots], int slice)
      : p_(p),
        ring_(ring),
        taken_(ring),
        x_(p.x, FirstToken(), Lane()),
        first_(p.FirstChunk(slice) * kTilesOfChunk),
        end_(p.FirstChunk(slice + 1) * kTilesOfChunk),
        next_{first_, ring, Rounds() * (end_ - first_)} {
    FindStrips();
  }

  // What can begin before the kernel waits, and what must come after that.
  __device__ __forceinline__ void BeginWeights() {
    Place at = next_;
#pragma unroll 1
    for (int i = 0; i < kAhead && at.left > 0; ++i) CopyWeights(at);
    if (Lane() == 0) Prefetch();
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
    const Slot& slot = *taken_;
    taken_ = After(taken_);
    return slot;
  }

  // The tiles of a strip: those from `tile` to EndOf(tile) are in one slot.
  __device__ int first() const { return first_; }
  __device__ int end() const { return end_; }
  __device__ int EndOf(int tile) const {
    if constexpr (Slot::kTiles == 1) return tile + 1;
    if constexpr (Slot::L::kHasSuper) return min((tile | (Slot::kTiles - 1)) + 1, end_);
    return min(tile + Slot::kTiles, end_);
  }
  // How many times the block takes strips.
  __device__ int Rounds() const {
    const int all = p_.Blocks<kStrips>();
    return (all - static_cast<int>(blockIdx.y) + static_cast<int>(gridDim.y) - 1) /
           static_cast<int>(gridDim.y);
  }
  static __device__ int FirstToken() {
    return kTokens == 1 ? 0 : static_cast<int>(blockIdx.x) * kTokens;
  }

 private:
  static constexpr int kColumns = Layout<kFormat>::kColumns;
  static constexpr int kTilesOfChunk = kChunk / kColumns;
  static constexpr int kTileBytes = static_cast<int>(Layout<kFormat>::kTileBytes);
  struct Place {
    int at;      // a tile
    Slot* slot;  // that it goes to
    int left;    // tiles from it on
  };

  static __device__ int Lane() { return threadIdx.x % 32; }
  __device__ __forceinline__ Slot* After(Slot* slot) const {
    return slot == ring_ + Memory::kSlots - 1 ? ring_ : slot + 1;
  }
  __device__ __forceinline__ void Prefetch() const {
    const int bytes = (end_ - first_) * kTileBytes;  // of a strip
    int left = bytes > 0 ? kPrefetchedBytes / kStrips : 0;
#pragma unroll 1
    for (int index = blockIdx.y; index < p_.Blocks<kStrips>() && left > 0; index += gridDim.y) {
#pragma unroll
      for (int i = 0; i < kStrips; ++i) {
        PrefetchL2(StripOf<kStrips>(p_, index, i) + first_ * kTileBytes, min(bytes, left));
      }
      left -= bytes;
    }
  }
  __device__ __forceinline__ void FindStrips() {
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      strips_[i] = StripOf<kStrips>(p_, index_, i) + Lane() * 16;
      tiles_[i] = strips_[i] + first_ * kTileBytes;
    }
  }
  __device__ __forceinline__ void Advance(Place& place) const {
    const int end = EndOf(place.at);
    place.slot = After(place.slot);
    place.left -= end - place.at;
    place.at = end == end_ ? first_ : end;
  }
  __device__ __forceinline__ void CopyWeights(Place& place) {
    const int tiles = EndOf(place.at) - place.at;
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      place.slot->weights[i].Begin(
          tiles_[i], tiles, strips_[i] + p_.tiles_bytes + SuperOffset<kFormat>(place.at), Lane());
      tiles_[i] += tiles * kTileBytes;
    }
    Advance(place);
    if (place.at != first_) return;
    index_ += static_cast<int>(gridDim.y);
    FindStrips();
  }
  __device__ __forceinline__ void CopyX() {
    next_.slot->x.Begin(x_, next_.at * kColumns, Lane());
    Advance(next_);
  }

  const Product& p_;
  Slot* const ring_;
  Slot* taken_;  // the next one to be taken
  const typename Slot::X::Source x_;
  const int first_, end_;
  int index_ = static_cast<int>(blockIdx.y);  // of the strips whose weights are copied next
  const uint8_t* strips_[kStrips];            // where those begin for the lane
  const uint8_t* tiles_[kStrips];             // and their next tiles
  Place next_;
};

}  // namespace softsplice::cuda
