// y = x W^T for many rows of x (tokens) where warpgroups multiply (warpgroup.h): the tensor cores
// read x from shared memory themselves, once for 64 outputs. A block makes 128 outputs (gated: half
// of that), a strip a warp, of 64 or 128 tokens. Chunks of 64 columns go through a ring as in
// matmul_prefill.h, in the same order of sums.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_stage.h"

namespace softsplice::cuda {

template <Format kFormat, int kTokenTiles>
struct Warpgroups {
  using L = Layout<kFormat>;
  static constexpr Format kOf = kFormat;
  static constexpr int kStrips = kMatmulThreads / 32, kTokens = 8 * kTokenTiles;
  using OfStage = Stage<kFormat, 1, kStrips, kTokens>;
  using Sums = float[kTokenTiles][4];  // a lane's, as Mma's

  // Of both halves of the columns: numbers without scales leave registers for the second one's.
  using Totals = float[L::kHasScale ? 2 : 1][kTokenTiles][4][kMatmulThreads];
  // In the end all outputs, so that neighbours are stored together. Rows of 132: no two lanes meet
  // in a bank.
  union Results {
    Totals totals;
    float outputs[kTokens][kStrips * kStripRows + 4];
  };
  struct Besides {
    Results results;
    typename OfStage::SumsOfX sums_of_x;
    typename OfStage::Strips strips;
    Product own;  // the block's, for the end: it would take registers until then
  };
  // Blocks of a multiprocessor, where registers do for two.
  static constexpr int kBlocks =
      kTokenTiles == kFewWarpgroupTiles && L::kParts == 1 && !L::kHasScale ? 2 : 1;
  static constexpr int kStages = static_cast<int>(
      std::min<size_t>(4, (kSharedOfMultiprocessor / kBlocks - sizeof(Besides)) / sizeof(OfStage)));
  // Whether a chunk without scales is still multiplied when the next one's turn comes.
  static constexpr bool kOverlaps = kBlocks == 1 && !L::kHasScale;
  static constexpr int kAhead = kStages - (kOverlaps ? 2 : 1);  // chunks that are copied ahead
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

  // Begins sum += (or, not adds, =) codes x^T of a chunk, and waits for it or the chunk before it.
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
    WaitForProducts<kOverlaps ? 1 : 0>();
  }

  // Groups of columns that share their scales: while one is multiplied, what the one before has
  // become is scaled and added up.
  struct Scaled {
    using OfGroup = Group<kFormat>;

    // sum += codes x^T of a chunk.
    __device__ __forceinline__ void Multiply(Sums& sum, const OfStage& stage,
                                             const typename OfStage::SumsOfX& sums_of_x) {
      const Tile<kFormat> tile = stage.LoadTileOf(threadIdx.x / 32, 0);
#pragma unroll
      for (int i = 0; i < OfStage::kGroups; ++i) {
        groups[i % 2] = OfGroup(tile, i);
        FenceRegisters(groups[i % 2].codes);
#pragma unroll
        for (int step = 0; step < OfGroup::kSteps; ++step) {
          BeginProducts(dots[i % 2], groups[i % 2].codes[step][0], stage.x[0],
                        i * OfGroup::kSteps + step, step > 0);
        }
        CommitProducts();
        if (i > 0) Add<1>(sum, i - 1, sums_of_x);
      }
      Add<0>(sum, OfStage::kGroups - 1, sums_of_x);
    }
    // Waits for all groups but the newest, and adds group i.
    template <int kNewest>
    __device__ __forceinline__ void Add(Sums& sum, int i,
                                        const typename OfStage::SumsOfX& sums_of_x) {
      WaitForProducts<kNewest>(dots[i % 2]);
#pragma unroll
      for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
        float2 of_x = {};
        if constexpr (L::kHasMin) of_x = sums_of_x[i][4 * token_tile + threadIdx.x % 4];
        groups[i % 2].AddScaled(sum[token_tile], dots[i % 2][token_tile], of_x);
      }
    }

    OfGroup groups[2];
    Sums dots[2] = {};
  };

  // Stores what has become of a block's outputs: a warp has neighbours of some tokens.
  static __device__ __forceinline__ void Store(const Besides& besides) {
    const Product p = besides.own;
    const int first = threadIdx.x / 32 * kAtOnce;
#pragma unroll 1
    for (int token = first; token < kTokens; token += kMatmulThreads / 32 * kAtOnce) {
      if (OfStage::FirstToken() + token >= p.x.rows) return;
      p.IsPair() ? StoreOf<kStrips / 2, true>(p, besides.results, token)
                 : StoreOf<kStrips, false>(p, besides.results, token);
    }
  }

 private:
  static constexpr int kAtOnce = 4;  // tokens of a warp

  // Of one weight or a pair, kOfWeight strips of each. All reads before all writes: the compiler
  // could not tell that they are of different memory.
  template <int kOfWeight, bool kIsPair>
  static __device__ __forceinline__ void StoreOf(const Product& p, const Results& results,
                                                 int token) {
    constexpr int kOuts = kOfWeight * kStripRows;
    const int lane = threadIdx.x % 32;
    const int first_token = OfStage::FirstToken() + token;
    const int first_out = static_cast<int>(blockIdx.y) * kOuts + lane;
    float sums[kAtOnce][kOuts / 32] = {}, ups[kAtOnce][kOuts / 32] = {};
    const auto for_each = [&](const auto& function) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
        for (int j = 0; j < kOuts / 32; ++j) {
          if (first_token + i >= p.x.rows || first_out + 32 * j >= p.outs) continue;
          function(i, j, first_token + i, first_out + 32 * j);
        }
      }
    };
    for_each([&](int i, int j, int at, int out) {
      const auto& outputs = results.outputs[token + i];
      sums[i][j] = outputs[lane + 32 * j];
      ups[i][j] = kIsPair ? outputs[kOuts + lane + 32 * j] : p.TimesOf(at, out);
    });
    for_each([&](int i, int j, int at, int out) {
      cuda::Store(p, at, out, p.Finished(sums[i][j], ups[i][j]));
    });
  }
};

template <Format kFormat, int kTokenTiles>
__global__ void __launch_bounds__(kMatmulThreads, Warpgroups<kFormat, kTokenTiles>::kBlocks)
    WarpgroupMatmul([[maybe_unused]] Product all) {
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
  if (threadIdx.x < W::kStrips) {
    besides.strips[threadIdx.x] =
        StripOf<W::kStrips>(p, static_cast<int>(blockIdx.y), static_cast<int>(threadIdx.x));
  }
  __syncthreads();
  for (int i = 0; i < W::kAhead; ++i) memory.ring[i].FillStrips(besides.strips, all, i);
  WaitForPrevious();  // the first weights are on their way
  for (int i = 0; i < W::kAhead; ++i) memory.ring[i].FillX(all, i);

  typename W::Sums sum = {}, total = {};
  [[maybe_unused]] typename W::Scaled scaled;
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
        free.FillStrips(besides.strips, all, chunk + W::kAhead);
        free.FillX(all, chunk + W::kAhead);
      };
      // Of a scheduler's two warps one multiplies while the other one addresses its copies.
      const bool fills_first = warp < W::kStrips / 2;
      if (fills_first) fill();
      const auto& stage = memory.ring[chunk % W::kStages];
      if constexpr (W::L::kHasMin) stage.SumX(besides.sums_of_x);
      if constexpr (W::L::kHasScale) {
        scaled.Multiply(sum, stage, besides.sums_of_x);
      } else if (chunk % 2 == 0) {
        W::BeginChunk(sum, even, stage, chunk > first);
      } else {
        W::BeginChunk(sum, odd, stage, chunk > first);
      }
      if (!fills_first) fill();
    }
    if constexpr (W::L::kHasScale) {
      auto& totals = results.totals[slice / (kSlices / 2)];
      const bool begins_half = slice % (kSlices / 2) == 0;
      for_each_sum([&](int tile, int i) {
        float& of_half = totals[tile][i][threadIdx.x];
        of_half = (begins_half ? 0 : of_half) + sum[tile][i];
      });
    } else {
      WaitForProducts<0>(sum);
      if (chunk > first) for_each_sum([&](int tile, int i) { total[tile][i] += sum[tile][i]; });
      if (slice != kSlices / 2 - 1) continue;
      for_each_sum([&](int tile, int i) {
        results.totals[0][tile][i][threadIdx.x] = total[tile][i];
        total[tile][i] = 0;
      });
    }
  }
  for_each_sum([&](int tile, int i) {
    if constexpr (W::L::kHasScale) total[tile][i] = results.totals[1][tile][i][threadIdx.x];
    total[tile][i] = results.totals[0][tile][i][threadIdx.x] + total[tile][i];
  });
  __syncthreads();  // outputs lie where others have parked
  for_each_sum([&](int tile, int i) {
    const int token = 8 * tile + lane % 4 * 2 + i % 2;
    results.outputs[token][warp * kStripRows + lane / 4 + i / 2 * 8] = total[tile][i];
  });
  __syncthreads();
  W::Store(besides);
#endif
}

}  // namespace softsplice::cuda
