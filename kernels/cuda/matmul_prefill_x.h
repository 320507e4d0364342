// x in the prefill kernel: from memory of any shape into a ring of chunks of 64 columns, as
// bfloat16, and from there to registers.
#pragma once

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"
#include "kernels/cuda/shapes.h"

namespace softsplice::cuda {

inline constexpr int kRingChunks = 4;

// By parts of x: tiles of eight tokens of a warp, and tokens of a block.
template <int kXParts>
inline constexpr int kTokenTiles = kXParts == 1 ? kPrefillTokenTiles : kExactTokenTiles;
template <int kXParts>
inline constexpr int kTokens = 16 * kTokenTiles<kXParts>;

// A chunk of columns of the block's tokens: four bfloat16 numbers each, in rows of 160 bytes, so
// that no two lanes of half a warp meet in a bank.
template <int kXParts>
using PrefillChunk = uint2[kXParts][kTokens<kXParts>][(kChunk + 16) / 4];

template <int kXParts>
struct PrefillMemory {
  alignas(16) PrefillChunk<kXParts> ring[kRingChunks];
  // Of this chunk and the next one: sums of x over up to four groups of columns.
  float2 sums_of_x[2][4][kTokens<kXParts> / 2];
  // A warp's sums of the first half of the columns, while the second one is added up.
  float parked[kTokenTiles<kXParts>][kPrefillStrips][4][kMatmulThreads];
};

// Eight numbers at a time.
__device__ inline void CopyChunk(PrefillChunk<1>& to, const Operand& x, int first_col) {
  constexpr int kPieces = kChunk / 8;
  for (int i = threadIdx.x; i < kTokens<1> * kPieces; i += kMatmulThreads) {
    const int token = blockIdx.x * kTokens<1> + i / kPieces, col = first_col + i % kPieces * 8;
    const bool live = token < x.rows && col < x.cols;
    const size_t at = static_cast<size_t>(token) * x.pitch + static_cast<size_t>(col);
    CopyAsync(&to[0][i / kPieces][i % kPieces * 2],
              static_cast<const uint16_t*>(x.data) + (live ? at : 0), live);
  }
}

__device__ inline float NumberOf(const Operand& x, int token, int col) {
  if (token >= x.rows || col >= x.cols) return 0;
  const size_t at = static_cast<size_t>(token) * x.pitch + static_cast<size_t>(col);
  const float number = x.is_bfloat16 ? BFloat16ToFloat(static_cast<const uint16_t*>(x.data)[at])
                                     : static_cast<const float*>(x.data)[at];
  return Clamp(number, x.lo, x.hi);
}

template <int kXParts>
__device__ void ConvertChunk(PrefillChunk<kXParts>& to, const Operand& x, int first_col) {
  constexpr int kPieces = kChunk / 4;
  for (int i = threadIdx.x; i < kTokens<kXParts> * kPieces; i += kMatmulThreads) {
    const int token = blockIdx.x * kTokens<kXParts> + i / kPieces;
    const int col = first_col + i % kPieces * 4;
    float numbers[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) numbers[j] = NumberOf(x, token, col + j);
    uint32_t words[kXParts][2];
    SplitFour(words, numbers);
#pragma unroll
    for (int part = 0; part < kXParts; ++part) {
      to[part][i / kPieces][i % kPieces] = {words[part][0], words[part][1]};
    }
  }
}

// Begins to bring chunk `chunk` into the ring, if there is one.
template <int kXParts>
__device__ void FillRing(PrefillMemory<kXParts>& memory, const Product& p, int chunk) {
  if (chunk < p.chunks) {
    auto& to = memory.ring[chunk % kRingChunks];
    if constexpr (kXParts == 1) {
      if (p.x.copies) CopyChunk(to, p.x, chunk * kChunk);
    }
    if (kXParts > 1 || !p.x.copies) ConvertChunk<kXParts>(to, p.x, chunk * kChunk);
  }
  CommitCopies();
}

// A lane's part of a chunk: of token g of each tile of eight from `first_token` of the block's on.
template <int kXParts>
struct PrefillX {
  __device__ __forceinline__ void Load(uint32_t (&b)[kXParts][2], int step, int token_tile) const {
    const int lane = threadIdx.x % 32, token = first_token + 8 * token_tile + lane / 4;
#pragma unroll
    for (int part = 0; part < kXParts; ++part) {
      const uint2 words = chunk[part][token][(first_step + step) * 4 + lane % 4];
      b[part][0] = words.x;
      b[part][1] = words.y;
    }
  }
  template <int kSteps>
  __device__ __forceinline__ float2 SumsOf(int group, int token_tile) const {
    return sums_of_x[first_step / kSteps + group]
                    [first_token / 2 + 4 * token_tile + static_cast<int>(threadIdx.x) % 4];
  }

  const PrefillChunk<kXParts>& chunk;
  const float2 (&sums_of_x)[4][kTokens<kXParts> / 2];
  int first_token;
  int first_step = 0;  // of a tile, in the chunk
};

// Sums of a chunk of x over each group of columns, for all warps: each makes some.
template <int kSteps, int kXParts>
__device__ __forceinline__ void SumChunk(PrefillMemory<kXParts>& memory, int chunk) {
  constexpr int kGroups = kChunk / 16 / kSteps, kWarps = kMatmulThreads / 32;
  const int lane = threadIdx.x % 32;
  auto& sums = memory.sums_of_x[chunk % 2];
  for (int i = threadIdx.x / 32; i < kTokens<kXParts> / 8 * kGroups; i += kWarps) {
    const int group = i % kGroups, token_tile = i / kGroups;
    const PrefillX<kXParts> x{memory.ring[chunk % kRingChunks], sums, 8 * token_tile,
                              group * kSteps};
    const float2 of_two = SumGroup<kSteps, kXParts>([&](auto& b, int step) { x.Load(b, step, 0); });
    if (lane < 4) sums[group][4 * token_tile + lane] = of_two;
  }
}

}  // namespace softsplice::cuda
