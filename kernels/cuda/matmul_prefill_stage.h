// What the prefill kernel has in shared memory, how it comes there, and how a lane reads x.
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/tile.h"

namespace softsplice::cuda {

// x comes in kXParts matrices of bfloat16, of 16-byte aligned rows; a warp has kStrips strips.
template <Format kFormat, int kXParts, int kStrips>
struct Prefill {
  using L = Layout<kFormat>;
  static constexpr Format kOf = kFormat;
  static constexpr int kParts = kXParts, kOfWarp = kStrips;
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
    const uint8_t* strips[2 * kStrips];
    float2 sums_of_x[L::kHasMin ? kGroups : 1][kTokens / 2];
    // A warp's sums of the first half of the columns, while the second one is added up.
    float parked[kTokenTiles][kStrips][4][kMatmulThreads];
    Product own;  // the block's, for the end: it would take registers until then
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

  // Keeps the block's product, and where its strips begin: by all threads, before a barrier.
  static __device__ __forceinline__ void Begin(Besides& to, const Product& p) {
    const int strip = threadIdx.x;
    if (strip == 0) to.own = p;
    if (strip >= 2 * kStrips) return;
    to.strips[strip] =
        StripOf<kStrips>(p, static_cast<int>(blockIdx.y) * 2 + strip / kStrips, strip % kStrips);
  }
  static __device__ __forceinline__ void FillStrips(Stage& to, const Besides& besides,
                                                    const Product& p, int chunk) {
    if (chunk >= p.chunks) return;
    constexpr int kPieces = sizeof(to.strips[0]) / 16;
    constexpr int kSuperPieces = L::kHasSuper ? kSuperBytes / 16 : 0;
    constexpr int kAll = 2 * kStrips * (kPieces + kSuperPieces);
    // (Addresses of all pieces at once would take registers that scaled sums need.)
#pragma unroll(L::kHasScale ? 1 : 4)
    for (int first = 0; first < kAll; first += kMatmulThreads) {
      const int i = first + static_cast<int>(threadIdx.x);
      if (i >= kAll) break;
      const int strip = i / (kPieces + kSuperPieces), piece = i % (kPieces + kSuperPieces);
      const uint8_t* from = besides.strips[strip];
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
      constexpr int kAtOnce = kMatmulThreads / 8;  // tokens, a multiple of four
      const int first = static_cast<int>(threadIdx.x) / 8,
                piece = static_cast<int>(threadIdx.x) % 8;
      const int col = chunk * kChunk + piece * 8,
                place = PairsPlace(first, piece / 2) * 2 + piece % 2;
      const uint16_t* from = static_cast<const uint16_t*>(p.x.data) +
                             static_cast<size_t>(FirstToken() + first) * p.x.pitch + col;
      for (int part = 0; part < kXParts; ++part, from += p.x.part) {
        const uint16_t* at = from;
#pragma unroll(L::kHasScale ? 1 : 4)
        for (int token = first; token < kTokens; token += kAtOnce, at += kAtOnce * p.x.pitch) {
          CopyAsync(&to.x[part][token][place], at,
                    FirstToken() + token < p.x.rows && col < p.x.cols);
        }
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
};

}  // namespace softsplice::cuda
