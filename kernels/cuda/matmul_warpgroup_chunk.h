// What the warpgroups' kernel has in shared memory, and how a warp multiplies a chunk of columns.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_outputs.h"
#include "kernels/cuda/matmul_stage.h"

namespace softsplice::cuda {

template <Format kFormat, int kTokenTiles>
struct Warpgroups {
  using L = Layout<kFormat>;
  static constexpr Format kOf = kFormat;
  static constexpr int kStrips = kWarpgroupStrips, kTokens = 8 * kTokenTiles;
  using OfStage = Stage<kFormat, 1, kStrips, kTokens>;
  using Sums = float[kTokenTiles][4];  // a lane's, as Mma's

  // The sums of the first half of the columns, while the second one is added up; in the end all
  // outputs.
  union Results {
    float parked[kTokenTiles][4][kMatmulThreads];
    BlockOutputs<kTokens> outputs;
  };
  struct Besides {
    Results results;
    typename OfStage::SumsOfX sums_of_x;
    Product own;  // the block's, for the end: it would take registers until then
  };
  static constexpr int kStages = static_cast<int>(
      std::min<size_t>(6, (kSharedOfMultiprocessor - sizeof(Besides)) / sizeof(OfStage)));
  // Chunks that are copied ahead. Numbers without scales are still multiplied in the next turn.
  static constexpr int kAhead = L::kHasScale ? kStages - 1 : kStages - 2;
  static_assert(kAhead > 0);
  struct Memory {
    OfStage ring[kStages];
    Besides besides;
  };

  // A chunk's codes without scales, as the tensor core wants them.
  struct Codes {
    __device__ __forceinline__ void Load(const OfStage& stage, int strip) {
      constexpr int kSteps = L::kColumns / 16;
#pragma unroll
      for (int i = 0; i < OfStage::kTiles; ++i) {
        const Tile<kFormat> tile = stage.LoadTileOf(strip, i);
#pragma unroll
        for (int step = 0; step < kSteps; ++step) Unpack(of[i * kSteps + step], tile, step);
      }
    }

    uint32_t of[kChunk / 16][L::kParts][4];
  };

  // Begins sum += (or, not adds, =) codes x^T of a chunk, and waits for the chunk before it.
  static __device__ __forceinline__ void BeginChunk(Sums& sum, Codes& codes, const OfStage& stage,
                                                    bool adds) {
    codes.Load(stage, threadIdx.x / 32);
    FenceRegisters(codes.of);
#pragma unroll
    for (int step = 0; step < kChunk / 16; ++step) {
#pragma unroll
      for (int part = 0; part < L::kParts; ++part) {
        BeginProducts(sum, codes.of[step][part], stage.x[0], step, adds || step + part > 0);
      }
    }
    CommitProducts();
    WaitForProducts<1>();
  }

  // sum += codes x^T of a chunk, scaled; dots are for the products of a group.
  static __device__ __forceinline__ void AddScaledChunk(
      Sums& sum, Sums& dots, const OfStage& stage, const typename OfStage::SumsOfX& sums_of_x) {
    using OfGroup = Group<kFormat>;
    const Tile<kFormat> tile = stage.LoadTileOf(threadIdx.x / 32, 0);
#pragma unroll
    for (int i = 0; i < OfStage::kGroups; ++i) {
      OfGroup group(tile, i);
      FenceRegisters(group.codes);
#pragma unroll
      for (int step = 0; step < OfGroup::kSteps; ++step) {
        BeginProducts(dots, group.codes[step][0], stage.x[0], i * OfGroup::kSteps + step, step > 0);
      }
      CommitProducts();
      WaitForProducts<0>(dots);
#pragma unroll
      for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
        float2 of_x = {};
        if constexpr (L::kHasMin) of_x = sums_of_x[i][4 * token_tile + threadIdx.x % 4];
        group.AddScaled(sum[token_tile], dots[token_tile], of_x);
      }
    }
  }
};

}  // namespace softsplice::cuda
