// y = x W^T for many rows of x (tokens) where warpgroups multiply (warpgroup.h): the tensor cores
// read x from shared memory themselves, once for 64 outputs. A block makes 128 outputs (gated: half
// of that), a strip a warp, of 64 or 128 tokens. Chunks of 64 columns go through a ring as in
// matmul_prefill.h, in the same order of sums.
#pragma once

#include "kernels/cuda/matmul_warpgroup_chunk.h"

namespace softsplice::cuda {

template <Format kFormat, int kTokenTiles>
__global__ void __launch_bounds__(kMatmulThreads, 1) WarpgroupMatmul([[maybe_unused]] Product all) {
#if SOFTSPLICE_HAS_WARPGROUPS
  using W = Warpgroups<kFormat, kTokenTiles>;
  const Product p = all.Own();
  if (static_cast<int>(blockIdx.y) >= p.Blocks<W::kStrips>()) {
    return WaitForPrevious();  // the blocks are as many as the largest of the products needs
  }
  auto& memory = Shared<typename W::Memory>();
  auto& besides = memory.besides;
  auto& results = besides.results;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (threadIdx.x == 0) besides.own = p;
  const typename W::OfStage::Source source(
      all, [&](int strip) { return StripOf<W::kStrips>(p, static_cast<int>(blockIdx.y), strip); });
  for (int i = 0; i < W::kAhead; ++i) memory.ring[i].FillStrips(source, i);
  WaitForPrevious();  // the first weights are on their way
  for (int i = 0; i < W::kAhead; ++i) memory.ring[i].FillX(source, i);

  typename W::Sums sum = {}, total = {};
  [[maybe_unused]] typename W::Sums dots = {};
  [[maybe_unused]] typename W::Codes even, odd;
  const auto for_each_sum = [](const auto& function) {
#pragma unroll
    for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) function(token_tile, i);
    }
  };
  int chunk = 0;
#pragma unroll 1
  for (int slice = 0; slice < kSlices; ++slice) {
    if constexpr (W::L::kHasScale) for_each_sum([&](int tile, int i) { sum[tile][i] = 0; });
    const int first = chunk;
#pragma unroll 1
    for (const int end = all.FirstChunk(slice + 1); chunk < end; ++chunk) {
      WaitForCopies<W::kAhead - 1>();
      __syncthreads();
      const auto fill = [&] {
        auto& free = memory.ring[(chunk + W::kAhead) % W::kStages];
        free.FillStrips(source, chunk + W::kAhead);
        free.FillX(source, chunk + W::kAhead);
      };
      // Of a scheduler's two warps one multiplies while the other one addresses its copies.
      const bool fills_first = warp < W::kStrips / 2;
      if (fills_first) fill();
      const auto& stage = memory.ring[chunk % W::kStages];
      if constexpr (W::L::kHasMin) stage.SumX(besides.sums_of_x);
      if constexpr (W::L::kHasScale) {
        W::AddScaledChunk(sum, dots, stage, besides.sums_of_x);
      } else if (chunk % 2 == 0) {
        W::BeginChunk(sum, even, stage, chunk > first);
      } else {
        W::BeginChunk(sum, odd, stage, chunk > first);
      }
      if (!fills_first) fill();
    }
    if constexpr (!W::L::kHasScale) WaitForProducts<0>(sum);
    if (chunk > first) for_each_sum([&](int tile, int i) { total[tile][i] += sum[tile][i]; });
    if (slice != kSlices / 2 - 1) continue;
    for_each_sum([&](int tile, int i) {
      results.parked[tile][i][threadIdx.x] = total[tile][i];
      total[tile][i] = 0;
    });
  }
  for_each_sum([&](int tile, int i) {
    total[tile][i] = results.parked[tile][i][threadIdx.x] + total[tile][i];
  });
  __syncthreads();  // outputs lie where others have parked
  for_each_sum([&](int tile, int i) {
    const int token = 8 * tile + lane % 4 * 2 + i % 2;
    results.outputs.of[token][warp * kStripRows + lane / 4 + i / 2 * 8] = total[tile][i];
  });
  __syncthreads();
  results.outputs.Store(besides.own);
#endif
}

}  // namespace softsplice::cuda
