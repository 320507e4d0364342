// y = x W^T for many rows of x (tokens). A block makes 128 outputs (gated: 64; where blocks would
// be few: half of that) of 128 tokens (exact: 64): warps by two of outputs and by four of tokens.
// Chunks of 64 columns of both go through a ring in shared memory, from the L2 for all blocks but
// the first that want them.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"
#include "kernels/cuda/shapes.h"

namespace softsplice::cuda {

// x comes in kXParts matrices of bfloat16, of 16-byte aligned rows; a warp has kStrips strips.
template <Format kFormat, int kXParts, int kStrips>
struct Prefill {
  using L = Layout<kFormat>;
  static constexpr int kTokenTiles = kXParts == 1 ? kPrefillTokenTiles : kExactTokenTiles;
  static constexpr int kTokens = 4 * 8 * kTokenTiles;  // of a block
  static constexpr int kTiles = kChunk / L::kColumns;  // of a strip's chunk
  static constexpr int kGroups = kChunk / L::kGroup;
  using Sums = float[kTokenTiles][kStrips][4];  // a lane's

  // A chunk of columns. A row of x is eight pieces of eight numbers, the pairs of pieces in an
  // order of the row's own: so no two lanes of half a warp meet in a bank.
  struct Stage {
    alignas(128) uint4 x[kXParts][kTokens][8];
    alignas(16) uint8_t strips[2 * kStrips][kTiles * L::kTileBytes];
    alignas(16) uint8_t supers[L::kHasSuper ? 2 * kStrips : 1][kSuperBytes];
  };
  struct Besides {
    float2 sums_of_x[L::kHasMin ? kGroups : 1][kTokens / 2];
    // A warp's sums of the first half of the columns, while the second one is added up.
    float parked[kTokenTiles][kStrips][4][kMatmulThreads];
  };
  static constexpr int kStages =
      static_cast<int>(std::min<size_t>(4, (kSharedOfBlock - sizeof(Besides)) / sizeof(Stage)));
  static_assert(kStages > 1);
  struct Memory {
    Stage ring[kStages];
    Besides besides;
  };

  static __device__ __forceinline__ int FirstToken() {
    return static_cast<int>(blockIdx.x) * kTokens;
  }
  static __device__ __forceinline__ int PairsPlace(int token, int pair) { return pair ^ token % 4; }

  // (Loops that are not unrolled: their addresses would take registers that the sums need.)
  static __device__ __forceinline__ void FillStrips(Stage& to, const Product& p, int chunk) {
    if (chunk >= p.chunks) return;
    constexpr int kPieces = sizeof(to.strips[0]) / 16;
    constexpr int kSuperPieces = L::kHasSuper ? kSuperBytes / 16 : 0;
#pragma unroll 1
    for (int i = threadIdx.x; i < 2 * kStrips * (kPieces + kSuperPieces); i += kMatmulThreads) {
      const int strip = i / (kPieces + kSuperPieces), piece = i % (kPieces + kSuperPieces);
      const int warp = static_cast<int>(blockIdx.y) * 2 + strip / kStrips;
      const uint8_t* from = StripOf<kStrips>(p, warp, strip % kStrips);
      if (piece < kPieces) {
        from += static_cast<size_t>(chunk) * sizeof(to.strips[0]) + piece * 16;
        CopyAsync(&to.strips[strip][piece * 16], from);
      } else {
        from += p.tiles_bytes + SuperOffset<kFormat>(chunk * kTiles) + (piece - kPieces) * 16;
        CopyAsync(&to.supers[strip][(piece - kPieces) * 16], from);
      }
    }
  }
  static __device__ __forceinline__ void FillX(Stage& to, const Product& p, int chunk) {
    if (chunk < p.chunks) {
      const int piece = static_cast<int>(threadIdx.x) % 8, col = chunk * kChunk + piece * 8;
#pragma unroll 1
      for (int row = threadIdx.x / 8; row < kXParts * kTokens; row += kMatmulThreads / 8) {
        const int token = row % kTokens, part = row / kTokens;
        const bool live = FirstToken() + token < p.x.rows && col < p.x.cols;
        const size_t at = static_cast<size_t>(FirstToken() + token) * p.x.pitch +
                          static_cast<size_t>(part) * p.x.part + static_cast<size_t>(col);
        CopyAsync(&to.x[part][token][PairsPlace(token, piece / 2) * 2 + piece % 2],
                  static_cast<const uint16_t*>(p.x.data) + (live ? at : 0), live);
      }
    }
    CommitCopies();
  }

  // A lane's part of x: of token g of each tile of eight from `first_token` of the block's on.
  struct X {
    __device__ __forceinline__ void Load(uint32_t (&b)[kXParts][2], int step,
                                         int token_tile) const {
      const int lane = threadIdx.x % 32, token = first_token + 8 * token_tile + lane / 4;
#pragma unroll
      for (int part = 0; part < kXParts; ++part) {
        const uint4* pair = &stage.x[part][token][PairsPlace(token, first_step + step) * 2];
        const uint2 words = reinterpret_cast<const uint2*>(pair)[lane % 4];
        b[part][0] = words.x;
        b[part][1] = words.y;
      }
    }
    template <int kSteps>
    __device__ __forceinline__ float2 SumsOf(int group, int token_tile) const {
      return sums_of_x[first_step / kSteps + group]
                      [first_token / 2 + 4 * token_tile + static_cast<int>(threadIdx.x) % 4];
    }

    const Stage& stage;
    const float2 (&sums_of_x)[L::kHasMin ? kGroups : 1][kTokens / 2];
    int first_token;
    int first_step = 0;  // of a tile, in the chunk
  };

  // Sums of the stage's x over each group of columns, for all warps: each makes some.
  static __device__ __forceinline__ void SumX(Memory& memory, const Stage& stage) {
    constexpr int kSteps = L::kGroup / 16;
    auto& sums = memory.besides.sums_of_x;
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x / 32; i < kTokens / 8 * kGroups; i += kMatmulThreads / 32) {
      const int group = i % kGroups, token_tile = i / kGroups;
      const X x{stage, sums, 8 * token_tile, group * kSteps};
      const float2 of_two =
          SumGroup<kSteps, kXParts>([&](auto& b, int step) { x.Load(b, step, 0); });
      if (lane < 4) sums[group][4 * token_tile + lane] = of_two;
    }
    __syncthreads();
  }

  // sum += the products of a chunk: of the warp's strips, which are those from `first_strip` of the
  // block's on, and its tokens.
  static __device__ __forceinline__ void AddChunk(Sums& sum, X x, int first_strip) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      Tile<kFormat> tiles[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) {
        const int at = first_strip + strip;
        tiles[strip] = LoadTile<kFormat, From::kShared>(
            &x.stage.strips[at][static_cast<size_t>(i) * L::kTileBytes],
            x.stage.supers[L::kHasSuper ? at : 0], threadIdx.x % 32);
      }
      x.first_step = i * L::kColumns / 16;
      AddTile<kFormat, kXParts>(sum, tiles, x);
    }
  }

  // Calls function(token_tile, strip, i) for each of a lane's sums.
  template <class F>
  static __device__ __forceinline__ void ForEachSum(const F& function) {
#pragma unroll
    for (int token_tile = 0; token_tile < kTokenTiles; ++token_tile) {
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) {
#pragma unroll
        for (int i = 0; i < 4; ++i) function(token_tile, strip, i);
      }
    }
  }
};

// A warp walks the slices one after the other.
template <Format kFormat, int kXParts, int kStrips>
__global__ void __launch_bounds__(kMatmulThreads, 1) PrefillMatmul(Product all) {
  const Product p = all.Own();
  if (static_cast<int>(blockIdx.y) * 2 * (p.IsPair() ? kStrips / 2 : kStrips) > p.LastStrip()) {
    return WaitForPrevious();  // the blocks are as many as the largest of the products needs
  }
  using P = Prefill<kFormat, kXParts, kStrips>;
  auto& memory = Shared<typename P::Memory>();
  auto& parked = memory.besides.parked;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int index = static_cast<int>(blockIdx.y) * 2 + warp % 2;
  const int first_token = warp / 2 * 8 * P::kTokenTiles;
  for (int i = 0; i < P::kStages - 1; ++i) P::FillStrips(memory.ring[i], p, i);
  WaitForPrevious();  // the first weights are on their way
  for (int i = 0; i < P::kStages - 1; ++i) P::FillX(memory.ring[i], p, i);

  typename P::Sums total = {};
  int chunk = 0;
#pragma unroll 1
  for (int slice = 0; slice < kSlices; ++slice) {
    typename P::Sums sum = {};
#pragma unroll 1
    for (const int end = p.FirstChunk(slice + 1); chunk < end; ++chunk) {
      WaitForCopies<P::kStages - 2>();
      __syncthreads();
      typename P::Stage& free = memory.ring[(chunk + P::kStages - 1) % P::kStages];
      P::FillStrips(free, p, chunk + P::kStages - 1);
      P::FillX(free, p, chunk + P::kStages - 1);
      const typename P::Stage& stage = memory.ring[chunk % P::kStages];
      if constexpr (P::L::kHasMin) P::SumX(memory, stage);
      const typename P::X x{stage, memory.besides.sums_of_x, first_token};
      P::AddChunk(sum, x, warp % 2 * kStrips);
    }
    P::ForEachSum(
        [&](int tile, int strip, int i) { total[tile][strip][i] += sum[tile][strip][i]; });
    if (slice != kSlices / 2 - 1) continue;
    P::ForEachSum([&](int tile, int strip, int i) {
      parked[tile][strip][i][threadIdx.x] = total[tile][strip][i];
      total[tile][strip][i] = 0;
    });
  }
  P::ForEachSum([&](int tile, int strip, int i) {
    total[tile][strip][i] = parked[tile][strip][i][threadIdx.x] + total[tile][strip][i];
  });
#pragma unroll
  for (int tile = 0; tile < P::kTokenTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float sums[kStrips];
#pragma unroll
      for (int strip = 0; strip < kStrips; ++strip) sums[strip] = total[tile][strip][i];
      Finish<kStrips>(p, index, lane / 4 + i / 2 * 8,
                      P::FirstToken() + first_token + 8 * tile + lane % 4 * 2 + i % 2, sums);
    }
  }
}

}  // namespace softsplice::cuda
