// y = x W^T for many rows of x (tokens). A block makes 64 outputs (with many strips 128; gated:
// half of that) of 128 tokens (exact: 64): warps by two of outputs and by four of tokens. Chunks of
// 64 columns of both go through a ring in shared memory, from the L2 for all blocks but the first
// that want them.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_stage.h"

namespace softsplice::cuda {

// x comes in kXParts matrices (matmul_stage.h); a warp has kStrips strips.
template <Format kFormat, int kXParts, int kStrips>
struct Prefill {
  using L = Layout<kFormat>;
  static constexpr Format kOf = kFormat;
  static constexpr int kParts = kXParts, kOfWarp = kStrips;
  // Strips whose tiles are in registers at once.
  static constexpr int kAtOnce = kStrips == kFewStrips ? kStrips : 1;
  static constexpr int kTokenTiles = kXParts == 1 ? kPrefillTokenTiles : kExactTokenTiles;
  using OfStage = Stage<kFormat, kXParts, 2 * kStrips, 4 * 8 * kTokenTiles>;
  using Sums = float[kTokenTiles][kStrips][4];  // a lane's

  // Blocks of a multiprocessor, where registers do for two: while one waits at its barrier the
  // other one multiplies.
  static constexpr int kBlocks =
      kXParts == 1 && !L::kHasScale && L::kCodes != Codes::kFloat32 ? 2 : 1;

  struct Besides {
    typename OfStage::SumsOfX sums_of_x;
    // A warp's sums of the first half of the columns, while the second one is added up.
    float parked[kTokenTiles][kStrips][4][kMatmulThreads];
    Product own;  // the block's, for the end: it would take registers until then
  };
  static constexpr size_t kMost = std::min(kSharedOfBlock, kSharedOfMultiprocessor / kBlocks);
  static constexpr int kStages =
      static_cast<int>(std::min<size_t>(4, (kMost - sizeof(Besides)) / sizeof(OfStage)));
  static_assert(kStages > 1);
  struct Memory {
    OfStage ring[kStages];
    Besides besides;
  };
};

// sum += the products of a chunk: of the warp's strips, which are those from `first_strip` of the
// block's on, and its tokens.
template <class P>
__device__ __forceinline__ void AddChunk(typename P::Sums& sum, typename P::OfStage::X x,
                                         int first_strip) {
  using L = typename P::L;
#pragma unroll
  for (int i = 0; i < P::OfStage::kTiles; ++i) {
    x.first_step = i * L::kColumns / 16;
#pragma unroll
    for (int strip = 0; strip < P::kOfWarp; strip += P::kAtOnce) {
      Tile<P::kOf> tiles[P::kAtOnce];
#pragma unroll
      for (int j = 0; j < P::kAtOnce; ++j) {
        tiles[j] = x.stage.LoadTileOf(first_strip + strip + j, i);
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
  if (threadIdx.x == 0) memory.besides.own = p;
  const typename P::OfStage::Source source(all, [&](int strip) {
    return StripOf<kStrips>(p, static_cast<int>(blockIdx.y) * 2 + strip / kStrips, strip % kStrips);
  });
  for (int i = 0; i < P::kStages - 1; ++i) memory.ring[i].FillStrips(source, i);
  WaitForPrevious();  // the first weights are on their way
  for (int i = 0; i < P::kStages - 1; ++i) memory.ring[i].FillX(source, i);

  typename P::Sums total = {};
  int chunk = 0;
#pragma unroll 1
  for (int slice = 0; slice < kSlices; ++slice) {
    typename P::Sums sum = {};
#pragma unroll 1
    for (const int end = all.FirstChunk(slice + 1); chunk < end; ++chunk) {
      WaitForCopies<P::kStages - 2>();
      __syncthreads();
      const auto fill = [&] {
        auto& free = memory.ring[(chunk + P::kStages - 1) % P::kStages];
        free.FillStrips(source, chunk + P::kStages - 1);
        free.FillX(source, chunk + P::kStages - 1);
      };
      if (fills_first) fill();
      const auto& stage = memory.ring[chunk % P::kStages];
      if constexpr (P::L::kHasMin) stage.SumX(memory.besides.sums_of_x);
      AddChunk<P>(sum, {stage, memory.besides.sums_of_x, first_token}, warp % 2 * kStrips);
      if (!fills_first) fill();
    }
    ForEachSum<P>(
        [&](int tile, int strip, int i) { total[tile][strip][i] += sum[tile][strip][i]; });
    if (slice != kSlices / 2 - 1) continue;
    ForEachSum<P>([&](int tile, int strip, int i) {
      parked[tile][strip][i][threadIdx.x] = total[tile][strip][i];
      total[tile][strip][i] = 0;
    });
  }
  ForEachSum<P>([&](int tile, int strip, int i) {
    total[tile][strip][i] = parked[tile][strip][i][threadIdx.x] + total[tile][strip][i];
  });
#pragma unroll
  for (int tile = 0; tile < P::kTokenTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float sums[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) sums[strip] = total[tile][strip][i];
      Finish<kStrips>(memory.besides.own, index, lane / 4 + i / 2 * 8,
                      P::OfStage::FirstToken() + first_token + 8 * tile + lane % 4 * 2 + i % 2,
                      sums);
    }
  }
}

}  // namespace softsplice::cuda
