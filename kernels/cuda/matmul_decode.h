// y = x W^T for 1 to 64 rows of x (tokens): memory is the limit, so weights are read once, a
// strip's columns by the warps of one block. x [tokens, cols] bfloat16 or float32, y [tokens,
// outs]; a block reads kStrips strips and all of x, which comes from the caches.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul_decode_x.h"
#include "kernels/cuda/shapes.h"

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

// How many tiles of each strip a lane has under way. Memory wants 16 KB or more from each
// multiprocessor, which is two to three of 32 bytes a lane where there are few blocks.
template <Format kFormat, int kStrips, int kTokenTiles>
inline constexpr int kTilesAhead = kTokenTiles > 1
                                       ? 1
                                       : (24 / Layout<kFormat>::kWords + kStrips - 1) / kStrips;

// What a warp has the L2 fetch while it waits for its predecessors, at most: 17 MB in all on a
// device of 132 multiprocessors with two blocks each.
inline constexpr int kPrefetchedBytes = 8 << 10;

template <Format kFormat>
__device__ void Prefetch(const uint8_t* strip, int first_tile, int end_tile, int most_bytes) {
  constexpr int kBytes = static_cast<int>(Layout<kFormat>::kTileBytes);
  const int bytes = min((end_tile - first_tile) * kBytes, most_bytes);
  if (bytes > 0) PrefetchL2(strip + static_cast<size_t>(first_tile) * kBytes, bytes);
}

// A warp is a slice of the columns.
template <Format kFormat, Input kInput, int kStrips, int kTokenTiles>
__global__ void __launch_bounds__(kMatmulThreads, kStrips == 1 ? 2 : 1) DecodeMatmul(Product all) {
  const Product p = all.Own();
  if (static_cast<int>(blockIdx.y) * (p.IsPair() ? 1 : kStrips) > p.LastStrip()) {
    return WaitForPrevious();  // the blocks are as many as the largest of the products needs
  }
  constexpr int kColumns = Layout<kFormat>::kColumns;
  auto& slices = Shared<SliceSums<kStrips>>();
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const uint8_t* strips[kStrips];
#pragma unroll
  for (int i = 0; i < kStrips; ++i) strips[i] = StripOf<kStrips>(p, blockIdx.y, i);
  int index = p.FirstChunk(slice) * (kChunk / kColumns);
  const int end = p.FirstChunk(slice + 1) * (kChunk / kColumns);
  constexpr int kAhead = kTilesAhead<kFormat, kStrips, kTokenTiles>;
  Tile<kFormat> next[kAhead][kStrips] = {};
  const auto load = [&](Tile<kFormat>(&to)[kStrips], int at) {
    if (at >= end) return;
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      const size_t offset = static_cast<size_t>(at) * Layout<kFormat>::kTileBytes;
      to[i] = LoadTile<kFormat, From::kDevice>(
          strips[i] + offset, strips[i] + p.tiles_bytes + SuperOffset<kFormat>(at), lane);
    }
  };
#pragma unroll
  for (int i = 0; i < kAhead; ++i) load(next[i], index + i);
  if (lane == 0) {
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      Prefetch<kFormat>(strips[i], index, end, kPrefetchedBytes / kStrips);
    }
  }
  WaitForPrevious();  // the first weights are on their way

  const DecodedX<kInput, kTokenTiles> x(p.x);
  constexpr bool kInRegisters = kInput != Input::kExact && kTokenTiles == 1;
  std::conditional_t<kInRegisters, XInRegisters<kInput, kColumns / 16>,
                     XOnDemand<kInput, kTokenTiles>>
      next_x[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) next_x[i].Begin(x, (index + i) * kColumns);
  float sum[kTokenTiles][kStrips][4] = {};
  for (; index < end; index += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (index + i >= end) continue;
      Tile<kFormat> tiles[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) tiles[strip] = next[i][strip];
      const auto of_x = next_x[i];
      load(next[i], index + i + kAhead);
      next_x[i].Begin(x, (index + i + kAhead) * kColumns);
      AddTile<kFormat, kPartsOf<kInput>>(sum, tiles, of_x);
    }
  }

#pragma unroll
  for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
    const int first_token = (static_cast<int>(blockIdx.x) * kTokenTiles + token_tile) * 8;
    if (first_token >= p.x.rows) break;
    if (token_tile > 0) __syncthreads();
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        slices.of[slice][strip][2 * t + i % 2][g + i / 2 * 8] = sum[token_tile][strip][i];
      }
    }
    __syncthreads();
    if (threadIdx.x >= 8 * kStripRows) continue;
    const int row = threadIdx.x % kStripRows, token = threadIdx.x / kStripRows;
    float totals[kStrips];
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
      totals[strip] =
          HalfSum(slices, 0, strip, token, row) + HalfSum(slices, kSlices / 2, strip, token, row);
    }
    Finish<kStrips>(p, blockIdx.y, row, first_token + token, totals);
  }
}

}  // namespace softsplice::cuda
