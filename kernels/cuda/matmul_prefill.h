// y = x W^T for many rows of x (tokens). A block makes 128 outputs (gated: 64) of 96 tokens (exact:
// 64), a warp two strips of half of them; x goes through shared memory as bfloat16, in a ring of
// four chunks of 64 columns; weights go straight to registers, from the L2 for all blocks but the
// first that want them. Takes x of any shape and alignment.
#pragma once

#include "kernels/cuda/matmul_prefill_x.h"

namespace softsplice::cuda {

// A warp's sums, as its lanes have them.
template <int kXParts>
using PrefillSums = float[kTokenTiles<kXParts>][kPrefillStrips][4];

// A warp's two strips, tile by tile, the next one always under way.
template <Format kFormat>
struct PrefillStrips {
  static constexpr int kTiles = kChunk / Layout<kFormat>::kColumns;  // of a chunk

  __device__ __forceinline__ PrefillStrips(const Product& p, int pair)
      : tiles(p.chunks * kTiles), tiles_bytes(p.tiles_bytes) {
#pragma unroll
    for (int i = 0; i < kPrefillStrips; ++i) strips[i] = StripOf<kPrefillStrips>(p, pair, i);
    Load(0);
  }
  __device__ __forceinline__ void Load(int index) {
    if (index >= tiles) return;
#pragma unroll
    for (int i = 0; i < kPrefillStrips; ++i) {
      next[i] =
          LoadTile<kFormat, false>(strips[i], strips[i] + tiles_bytes, index, threadIdx.x % 32);
    }
  }

  const uint8_t* strips[kPrefillStrips];
  int tiles;
  size_t tiles_bytes;
  Tile<kFormat> next[kPrefillStrips];
};

// sum += the products of a chunk and the warp's tokens.
template <Format kFormat, int kXParts>
__device__ __forceinline__ void AddChunk(PrefillSums<kXParts>& sum, PrefillStrips<kFormat>& strips,
                                         PrefillX<kXParts> x, int chunk) {
  constexpr int kTiles = PrefillStrips<kFormat>::kTiles;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    Tile<kFormat> tiles[kPrefillStrips];
#pragma unroll
    for (int strip = 0; strip < kPrefillStrips; ++strip) tiles[strip] = strips.next[strip];
    strips.Load(chunk * kTiles + i + 1);
    x.first_step = i * Layout<kFormat>::kColumns / 16;
    AddTile<kFormat, kXParts>(sum, tiles, x);
  }
}

// Calls function(token_tile, strip, i) for each of a lane's sums.
template <int kXParts, class F>
__device__ __forceinline__ void ForEachSum(const F& function) {
#pragma unroll
  for (int token_tile = 0; token_tile < kTokenTiles<kXParts>; ++token_tile) {
#pragma unroll
    for (int strip = 0; strip < kPrefillStrips; ++strip) {
#pragma unroll
      for (int i = 0; i < 4; ++i) function(token_tile, strip, i);
    }
  }
}

// A warp walks the slices one after the other.
template <Format kFormat, int kXParts>
__global__ void __launch_bounds__(kMatmulThreads, 1) PrefillMatmul(Product p) {
  constexpr int kSteps = Layout<kFormat>::kGroup / 16;
  auto& memory = Shared<PrefillMemory<kXParts>>();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int pair = static_cast<int>(blockIdx.y) * 4 + warp % 4;  // of strips
  const int first_token = warp / 4 * 8 * kTokenTiles<kXParts>;
  const bool live = (p.IsPair() ? pair : kPrefillStrips * pair) <= p.LastStrip();
  PrefillStrips<kFormat> strips(p, pair);
  WaitForPrevious();
  for (int chunk = 0; chunk < kRingChunks - 1; ++chunk) FillRing(memory, p, chunk);
  if constexpr (Layout<kFormat>::kHasMin) {
    WaitForCopies<kRingChunks - 2>();
    __syncthreads();
    SumChunk<kSteps>(memory, 0);
  }

  PrefillSums<kXParts> total = {};
  int chunk = 0;
  for (int slice = 0; slice < kSlices; ++slice) {
    PrefillSums<kXParts> sum = {};
    for (const int end = p.FirstChunk(slice + 1); chunk < end; ++chunk) {
      WaitForCopies<kRingChunks - 3>();  // the next chunk is there too, for its sums
      __syncthreads();
      FillRing(memory, p, chunk + kRingChunks - 1);
      if (Layout<kFormat>::kHasMin && chunk + 1 < p.chunks) SumChunk<kSteps>(memory, chunk + 1);
      if (!live) continue;
      const PrefillX<kXParts> x{memory.ring[chunk % kRingChunks], memory.sums_of_x[chunk % 2],
                                first_token};
      AddChunk(sum, strips, x, chunk);
    }
    ForEachSum<kXParts>(
        [&](int tile, int strip, int i) { total[tile][strip][i] += sum[tile][strip][i]; });
    if (slice != kSlices / 2 - 1) continue;
    ForEachSum<kXParts>([&](int tile, int strip, int i) {
      memory.parked[tile][strip][i][threadIdx.x] = total[tile][strip][i];
      total[tile][strip][i] = 0;
    });
  }
  if (!live) return;
  ForEachSum<kXParts>([&](int tile, int strip, int i) {
    total[tile][strip][i] = memory.parked[tile][strip][i][threadIdx.x] + total[tile][strip][i];
  });
#pragma unroll
  for (int tile = 0; tile < kTokenTiles<kXParts>; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token =
          blockIdx.x * kTokens<kXParts> + first_token + 8 * tile + lane % 4 * 2 + i % 2;
      Finish<kPrefillStrips>(p, pair, lane / 4 + i / 2 * 8, token,
                             {total[tile][0][i], total[tile][1][i]});
    }
  }
}

}  // namespace softsplice::cuda
