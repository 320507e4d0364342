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
  // The sums of x over each group of columns, of tokens by twos.
  using SumsOfX = float2[L::kHasMin ? kGroups : 1][kTokens / 2];

  // A row of x is eight pieces of eight numbers, in an order of the row's own: the same piece of
  // eight neighbours is in as many banks. (As warpgroup.h wants it.)
  alignas(1024) uint4 x[kXParts][kTokens][8];
  alignas(16) uint8_t strips[kStrips][kTiles * L::kTileBytes];  // without a gap
  alignas(16) uint8_t supers[L::kHasSuper ? kStrips : 1][kSuperBytes];

  static __device__ __forceinline__ int Place(int token, int piece) { return piece ^ token % 8; }
  static __device__ __forceinline__ int FirstToken() {
    return static_cast<int>(blockIdx.x) * kTokens;
  }

  static constexpr int kAtOnce = kMatmulThreads / 8;  // rows of x, a multiple of eight
  static constexpr int kPieces = kTiles * L::kTileBytes / 16, kAll = kStrips * kPieces;
  static constexpr int kOfThread = (kAll + kMatmulThreads - 1) / kMatmulThreads;
  static constexpr int kSuperPieces = kSuperBytes / 16;

  // What a thread copies of each chunk: found once, so that a copy takes few instructions.
  struct Source {
    // strip_of(i) is where the block's strip i begins.
    template <class F>
    __device__ __forceinline__ Source(const Product& p, const F& strip_of)
        : chunks(p.chunks),
          x(static_cast<const uint16_t*>(p.x.data) +
            static_cast<size_t>(FirstToken() + FirstRow()) * p.x.pitch + Piece() * 8),
          part(p.x.part),
          step(kAtOnce * static_cast<int>(p.x.pitch)),
          rows(p.x.rows - FirstToken() - FirstRow()),
          cols(p.x.cols - Piece() * 8) {
#pragma unroll
      for (int j = 0; j < kOfThread; ++j) {
        const int i = min(j * kMatmulThreads + static_cast<int>(threadIdx.x), kAll - 1);
        strips[j] = strip_of(i / kPieces) + i % kPieces * 16;
      }
      if constexpr (L::kHasSuper) {
        const int i = min(static_cast<int>(threadIdx.x), kStrips * kSuperPieces - 1);
        supers = strip_of(i / kSuperPieces) + p.tiles_bytes + i % kSuperPieces * 16;
      }
    }

    static __device__ int FirstRow() { return static_cast<int>(threadIdx.x) / 8; }
    static __device__ int Piece() { return static_cast<int>(threadIdx.x) % 8; }

    const uint8_t* strips[kOfThread];
    const uint8_t* supers;
    int chunks;
    const uint16_t* x;
    size_t part;
    int step, rows, cols;  // to the next row of the thread's; those that are left
  };

  // Begins to copy chunk `chunk` of the strips.
  __device__ __forceinline__ void FillStrips(const Source& from, int chunk) {
    if (chunk >= from.chunks) return;
    const size_t offset = static_cast<size_t>(chunk) * sizeof(strips[0]);
#pragma unroll
    for (int j = 0; j < kOfThread; ++j) {
      const int i = j * kMatmulThreads + static_cast<int>(threadIdx.x);
      if (i < kAll) CopyAsync(strips[0] + i * 16, from.strips[j] + offset);
    }
    if constexpr (L::kHasSuper) {
      const int i = static_cast<int>(threadIdx.x);
      if (i >= kStrips * kSuperPieces) return;
      CopyAsync(supers[0] + i * 16, from.supers + SuperOffset<kFormat>(chunk * kTiles));
    }
  }
  // The same of x: of the block's tokens. Closes the group of copies.
  __device__ __forceinline__ void FillX(const Source& from, int chunk) {
    if (chunk < from.chunks) {
      const uint16_t* at = from.x + static_cast<size_t>(chunk) * kChunk;
      const int live = chunk * kChunk < from.cols ? from.rows : 0;
      const int row = Source::FirstRow(), place = Place(row, Source::Piece());
#pragma unroll
      for (int part = 0; part < kXParts; ++part) {
// (Sums of x leave no registers for all addresses.)
#pragma unroll(L::kHasMin ? 1 : kTokens / kAtOnce)
        for (int i = 0; i < kTokens / kAtOnce; ++i) {
          CopyAsync(&x[part][row + i * kAtOnce][place], at + part * from.part + i * from.step,
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
