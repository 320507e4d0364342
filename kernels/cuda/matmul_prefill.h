// y = x W^T for many rows of x (tokens). A block makes 64 outputs (with many strips 128; gated:
// half of that) of 128 tokens (exact: 64): warps by two of outputs and by four of tokens. Chunks of
// 64 columns of both go through a ring in shared memory, from the L2 for all blocks but the first
// that want them.
#pragma once

#include "kernels/cuda/matmul_prefill_stage.h"
#include "kernels/cuda/matmul_sums.h"

namespace softsplice::cuda {

// Sums of the stage's x over each group of columns, for all warps: each makes some.
template <class P>
__device__ __forceinline__ void SumX(typename P::Memory& memory, const typename P::Stage& stage) {
  constexpr int kSteps = P::L::kGroup / 16;
  auto& sums = memory.besides.sums_of_x;
  const int lane = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < P::kTokens / 8 * P::kGroups; i += kMatmulThreads / 32) {
    const int group = i % P::kGroups, token_tile = i / P::kGroups;
    const typename P::X x{stage, sums, 8 * token_tile, group * kSteps};
    const float2 of_two =
        SumGroup<kSteps, P::kParts>([&](auto& b, int step) { x.Load(b, step, 0); });
    if (lane < 4) sums[group][4 * token_tile + lane] = of_two;
  }
  __syncthreads();
}

// sum += the products of a chunk: of the warp's strips, which are those from `first_strip` of the
// block's on, and its tokens.
template <class P>
__device__ __forceinline__ void AddChunk(typename P::Sums& sum, typename P::X x, int first_strip) {
  using L = typename P::L;
#pragma unroll
  for (int i = 0; i < P::kTiles; ++i) {
    x.first_step = i * L::kColumns / 16;
#pragma unroll
    for (int strip = 0; strip < P::kOfWarp; strip += P::kAtOnce) {
      Tile<P::kOf> tiles[P::kAtOnce];
#pragma unroll
      for (int j = 0; j < P::kAtOnce; ++j) {
        const int at = first_strip + strip + j;
        tiles[j] = LoadTile<P::kOf>(&x.stage.strips[at][static_cast<size_t>(i) * L::kTileBytes],
                                    x.stage.supers[L::kHasSuper ? at : 0], threadIdx.x % 32);
      }
      AddTile<P::kOf, P::kParts>(sum, tiles, x, strip);
    }
  }
}

// Calls function(token_tile, strip, i) for each of a lane's sums.
template <class P, class F>
__device__ __forceinline__ void ForEachSum(const F& function) {
#pragma unroll
  for (int token_tile = 0; token_tile < P::kTokenTiles; ++token_tile) {
#pragma unroll
    for (int strip = 0; strip < P::kOfWarp; ++strip) {
#pragma unroll
      for (int i = 0; i < 4; ++i) function(token_tile, strip, i);
    }
  }
}

// A warp walks the slices one after the other.
template <Format kFormat, int kXParts, int kStrips>
__global__ void __launch_bounds__(kMatmulThreads, Prefill<kFormat, kXParts, kStrips>::kBlocks)
    PrefillMatmul(Product all) {
  const Product p = all.Own();
  if (static_cast<int>(blockIdx.y) * 2 >= p.Blocks<kStrips>()) {
    return WaitForPrevious();  // the blocks are as many as the largest of the products needs
  }
  using P = Prefill<kFormat, kXParts, kStrips>;
  auto& memory = Shared<typename P::Memory>();
  auto& parked = memory.besides.parked;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int index = static_cast<int>(blockIdx.y) * 2 + warp % 2;
  const int first_token = warp / 2 * 8 * P::kTokenTiles;
  // Of a scheduler's two warps one multiplies while the other one addresses its copies.
  const bool fills_first = warp < kMatmulThreads / 32 / 2;
  P::Begin(memory.besides, p);
  __syncthreads();
  for (int i = 0; i < P::kStages - 1; ++i) P::FillStrips(memory.ring[i], memory.besides, all, i);
  WaitForPrevious();  // the first weights are on their way
  for (int i = 0; i < P::kStages - 1; ++i) P::FillX(memory.ring[i], all, i);

  typename P::Sums in_registers = {};
  const auto total = [&](int tile, int strip, int i) -> float& {
    if (tile < P::kTotalsInRegisters) return in_registers[tile][strip][i];
    return parked[P::kTokenTiles + tile - P::kTotalsInRegisters][strip][i][threadIdx.x];
  };
  ForEachSum<P>([&](int tile, int strip, int i) { total(tile, strip, i) = 0; });
  int chunk = 0;
#pragma unroll 1
  for (int slice = 0; slice < kSlices; ++slice) {
    typename P::Sums sum = {};
#pragma unroll 1
    for (const int end = all.FirstChunk(slice + 1); chunk < end; ++chunk) {
      WaitForCopies<P::kStages - 2>();
      __syncthreads();
      const auto fill = [&] {
        typename P::Stage& free = memory.ring[(chunk + P::kStages - 1) % P::kStages];
        P::FillStrips(free, memory.besides, all, chunk + P::kStages - 1);
        P::FillX(free, all, chunk + P::kStages - 1);
      };
      if (fills_first) fill();
      const typename P::Stage& stage = memory.ring[chunk % P::kStages];
      if constexpr (P::L::kHasMin) SumX<P>(memory, stage);
      const typename P::X x{stage, memory.besides.sums_of_x, first_token};
      AddChunk<P>(sum, x, warp % 2 * kStrips);
      if (!fills_first) fill();
    }
    ForEachSum<P>(
        [&](int tile, int strip, int i) { total(tile, strip, i) += sum[tile][strip][i]; });
    if (slice != kSlices / 2 - 1) continue;
    ForEachSum<P>([&](int tile, int strip, int i) {
      parked[tile][strip][i][threadIdx.x] = total(tile, strip, i);
      total(tile, strip, i) = 0;
    });
  }
  ForEachSum<P>([&](int tile, int strip, int i) {
    total(tile, strip, i) = parked[tile][strip][i][threadIdx.x] + total(tile, strip, i);
  });
#pragma unroll
  for (int tile = 0; tile < P::kTokenTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float sums[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) sums[strip] = total(tile, strip, i);
      Finish<kStrips>(memory.besides.own, index, lane / 4 + i / 2 * 8,
                      P::FirstToken() + first_token + 8 * tile + lane % 4 * 2 + i % 2, sums);
    }
  }
}

}  // namespace softsplice::cuda
