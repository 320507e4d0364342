// A chunk of columns of x and of some strips in shared memory, as both prefill kernels have it: how
// it comes there, and how a lane reads x.
#pragma once

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/tile.h"

namespace softsplice::cuda {

// x comes in kXParts matrices of bfloat16, of 16-byte aligned rows.
template <Format kFormat, int kXParts, int kStrips, int kTokens>
struct Stage {
  using L = Layout<kFormat>;
  static constexpr int kTiles = kChunk / L::kColumns;  // of a strip
  static constexpr int kGroups = kChunk / L::kGroup;
  // Where a block's strips begin.
  using Strips = const uint8_t* [kStrips];
  // The sums of x over each group of columns, of tokens by twos.
  using SumsOfX = float2[L::kHasMin ? kGroups : 1][kTokens / 2];

  // A row of x is eight pieces of eight numbers, in an order of the row's own: the same piece of
  // eight neighbours is in as many banks. (As warpgroup.h wants it.)
  alignas(1024) uint4 x[kXParts][kTokens][8];
  alignas(16) uint8_t strips[kStrips][kTiles * L::kTileBytes];
  alignas(16) uint8_t supers[L::kHasSuper ? kStrips : 1][kSuperBytes];

  static __device__ __forceinline__ int Place(int token, int piece) { return piece ^ token % 8; }
  static __device__ __forceinline__ int FirstToken() {
    return static_cast<int>(blockIdx.x) * kTokens;
  }

  // Begins to copy chunk `chunk` of the strips. Addresses first, then all copies at once: one would
  // wait until the one before has left.
  __device__ __forceinline__ void FillStrips(const Strips& from_strips, const Product& p,
                                             int chunk) {
    if (chunk >= p.chunks) return;
    constexpr int kPieces = sizeof(strips[0]) / 16;
    constexpr int kSuperPieces = L::kHasSuper ? kSuperBytes / 16 : 0;
    constexpr int kOfStrip = kPieces + kSuperPieces, kAll = kStrips * kOfStrip;
    constexpr int kOfThread = (kAll + kMatmulThreads - 1) / kMatmulThreads;
    const uint8_t* from[kOfThread];
    uint8_t* to[kOfThread];
#pragma unroll
    for (int j = 0; j < kOfThread; ++j) {
      const int i = min(j * kMatmulThreads + static_cast<int>(threadIdx.x), kAll - 1);
      const int strip = i / kOfStrip, piece = i % kOfStrip;
      const bool is_super = piece >= kPieces;
      const int offset =
          is_super ? static_cast<int>(p.tiles_bytes + SuperOffset<kFormat>(chunk * kTiles)) +
                         (piece - kPieces) * 16
                   : chunk * static_cast<int>(sizeof(strips[0])) + piece * 16;
      from[j] = from_strips[strip] + offset;
      to[j] = is_super ? &supers[L::kHasSuper ? strip : 0][(piece - kPieces) * 16]
                       : &strips[strip][piece * 16];
    }
#pragma unroll
    for (int j = 0; j < kOfThread; ++j) {
      if (j * kMatmulThreads + static_cast<int>(threadIdx.x) < kAll) CopyAsync(to[j], from[j]);
    }
  }
  // The same of x: of the block's tokens. Closes the group of copies.
  __device__ __forceinline__ void FillX(const Product& p, int chunk) {
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
          CopyAsync(&x[part][first + i * kAtOnce][place], from + part * p.x.part + i * step,
                    i * kAtOnce < live);
        }
      }
    }
    CommitCopies();
  }

  __device__ __forceinline__ Tile<kFormat> LoadTileOf(int strip, int i) const {
    return LoadTile<kFormat>(&strips[strip][static_cast<size_t>(i) * L::kTileBytes],
                             supers[L::kHasSuper ? strip : 0], threadIdx.x % 32);
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
    const SumsOfX& sums_of_x;
    int first_token;
    int first_step = 0;  // of a tile, in the chunk
  };

  // The sums of x, for all warps: each makes some.
  __device__ __forceinline__ void SumX(SumsOfX& sums) const {
    constexpr int kSteps = L::kGroup / 16;
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x / 32; i < kTokens / 8 * kGroups; i += kMatmulThreads / 32) {
      const int group = i % kGroups, token_tile = i / kGroups;
      const X of_tile{*this, sums, 8 * token_tile, group * kSteps};
      const float2 of_two =
          SumGroup<kSteps, kXParts>([&](auto& b, int step) { of_tile.Load(b, step, 0); });
      if (lane < 4) sums[group][4 * token_tile + lane] = of_two;
    }
    __syncthreads();
  }
};

}  // namespace softsplice::cuda
