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
  // Strips whose tiles are in registers at once.
  static constexpr int kAtOnce = kStrips == kFewStrips ? kStrips : 1;
  static constexpr int kTokenTiles = kXParts == 1 ? kPrefillTokenTiles : kExactTokenTiles;
  static constexpr int kTokens = 4 * 8 * kTokenTiles;  // of a block
  static constexpr int kTiles = kChunk / L::kColumns;  // of a strip's chunk
  static constexpr int kGroups = kChunk / L::kGroup;
  using Sums = float[kTokenTiles][kStrips][4];  // a lane's

  // A chunk of columns. A row of x is eight pieces of eight numbers, in an order of the row's own:
  // the same piece of eight neighbours is in as many banks.
  struct Stage {
    alignas(128) uint4 x[kXParts][kTokens][8];
    alignas(16) uint8_t strips[2 * kStrips][kTiles * L::kTileBytes];
    alignas(16) uint8_t supers[L::kHasSuper ? 2 * kStrips : 1][kSuperBytes];
  };
  // Blocks of a multiprocessor, where registers do for two: while one waits at its barrier the
  // other one multiplies.
  static constexpr int kBlocks = kXParts == 1 && !L::kHasMin && !L::kHasSuper ? 2 : 1;
  // Tiles of tokens.
  static constexpr int kTotalsInRegisters = kBlocks > 1 && L::kHasScale ? 1 : kTokenTiles;

  struct Besides {
    const uint8_t* strips[2 * kStrips];
    float2 sums_of_x[L::kHasMin ? kGroups : 1][kTokens / 2];
    // A warp's sums of the first half of the columns, while the second one is added up; then
    // totals for which there are no registers.
    float parked[2 * kTokenTiles - kTotalsInRegisters][kStrips][4][kMatmulThreads];
    Product own;  // the block's, for the end: it would take registers until then
  };
  static constexpr size_t kMost = std::min(kSharedOfBlock, kSharedOfMultiprocessor / kBlocks);
  static constexpr int kStages =
      static_cast<int>(std::min<size_t>(4, (kMost - sizeof(Besides)) / sizeof(Stage)));
  static_assert(kStages > 1);
  struct Memory {
    Stage ring[kStages];
    Besides besides;
  };

  static __device__ __forceinline__ int FirstToken() {
    return static_cast<int>(blockIdx.x) * kTokens;
  }
  static __device__ __forceinline__ int Place(int token, int piece) { return piece ^ token % 8; }

  // Keeps the block's product, and where its strips begin: by all threads, before a barrier.
  static __device__ __forceinline__ void Begin(Besides& to, const Product& p) {
    const int strip = threadIdx.x;
    if (strip == 0) to.own = p;
    if (strip >= 2 * kStrips) return;
    to.strips[strip] =
        StripOf<kStrips>(p, static_cast<int>(blockIdx.y) * 2 + strip / kStrips, strip % kStrips);
  }
  // Addresses first, then all copies at once: one would wait until the one before has left.
  static __device__ __forceinline__ void FillStrips(Stage& to, const Besides& besides,
                                                    const Product& p, int chunk) {
    if (chunk >= p.chunks) return;
    constexpr int kPieces = sizeof(to.strips[0]) / 16;
    constexpr int kSuperPieces = L::kHasSuper ? kSuperBytes / 16 : 0;
    constexpr int kOfStrip = kPieces + kSuperPieces, kAll = 2 * kStrips * kOfStrip;
    constexpr int kOfThread = (kAll + kMatmulThreads - 1) / kMatmulThreads;
    const uint8_t* from[kOfThread];
    uint8_t* at[kOfThread];
#pragma unroll
    for (int j = 0; j < kOfThread; ++j) {
      const int i = min(j * kMatmulThreads + static_cast<int>(threadIdx.x), kAll - 1);
      const int strip = i / kOfStrip, piece = i % kOfStrip;
      const bool is_super = piece >= kPieces;
      const int offset =
          is_super ? static_cast<int>(p.tiles_bytes + SuperOffset<kFormat>(chunk * kTiles)) +
                         (piece - kPieces) * 16
                   : chunk * static_cast<int>(sizeof(to.strips[0])) + piece * 16;
      from[j] = besides.strips[strip] + offset;
      at[j] = is_super ? &to.supers[L::kHasSuper ? strip : 0][(piece - kPieces) * 16]
                       : &to.strips[strip][piece * 16];
    }
#pragma unroll
    for (int j = 0; j < kOfThread; ++j) {
      if (j * kMatmulThreads + static_cast<int>(threadIdx.x) < kAll) CopyAsync(at[j], from[j]);
    }
  }
  static __device__ __forceinline__ void FillX(Stage& to, const Product& p, int chunk) {
    if (chunk < p.chunks) {
      constexpr int kAtOnce = kMatmulThreads / 8;  // tokens, a multiple of eight
      const int first = static_cast<int>(threadIdx.x) / 8,
                piece = static_cast<int>(threadIdx.x) % 8;
      const int col = chunk * kChunk + piece * 8, place = Place(first, piece);
      const uint16_t* from = static_cast<const uint16_t*>(p.x.data) +
                             static_cast<size_t>(FirstToken() + first) * p.x.pitch + col;
      const int step = kAtOnce * static_cast<int>(p.x.pitch);
      const int live = col < p.x.cols ? p.x.rows - FirstToken() - first : 0;
#pragma unroll
      for (int part = 0; part < kXParts; ++part) {
// (Scaled sums leave no registers for all addresses.)
#pragma unroll(L::kHasScale ? 1 : kTokens / kAtOnce)
        for (int i = 0; i < kTokens / kAtOnce; ++i) {
          CopyAsync(&to.x[part][first + i * kAtOnce][place], from + part * p.x.part + i * step,
                    i * kAtOnce < live);
        }
      }
    }
    CommitCopies();
  }

  // A lane's part of x: of token g of each tile of eight from `first_token` of the block's on.
  struct X {
    __device__ __forceinline__ void Load(uint32_t (&b)[kXParts][2], int step,
                                         int token_tile) const {
      const int lane = threadIdx.x % 32, token = first_token + 8 * token_tile + lane % 8;
      const int place = Place(lane, 2 * (first_step + step) + lane / 8 % 2);
#pragma unroll
      for (int part = 0; part < kXParts; ++part) LoadMatrix(b[part], &stage.x[part][token][place]);
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
