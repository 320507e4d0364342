// x in the decode kernel: from memory to a warp's part of shared memory, and from there to the
// tensor core's registers.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"

namespace softsplice::cuda {

// What x is: kExact is float32 as two bfloat16 parts.
enum class Input : uint8_t { kBFloat16, kFloat32, kExact };
template <Input kInput>
inline constexpr int kPartsOf = kInput == Input::kExact ? 2 : 1;

// What AddTile takes for x: kColumns columns of some tiles of eight tokens, in shared memory.
template <Input kInput, int kTokenTiles, int kColumns>
struct DecodedX {
  static constexpr int kParts = kPartsOf<kInput>;
  static constexpr int kTokens = 8 * kTokenTiles;
  using Number = std::conditional_t<kInput == Input::kBFloat16, uint16_t, float>;
  static constexpr int kPiece = 16 / sizeof(Number);  // numbers of one copy
  static constexpr int kPieces = kColumns / kPiece;   // of a row
  static_assert(32 % kPieces == 0);
  static constexpr int kAtOnce = 32 / kPieces;  // rows
  // No two of the lanes that read at once meet in a bank.
  static constexpr int kPitch = kColumns + 8;

  // Where a lane copies from: a piece of each kAtOnce-th row of x, from the first one that it takes
  // of those from `first` on.
  struct Source {
    __device__ __forceinline__ Source(const Operand& x, int first, int lane)
        : from(static_cast<const Number*>(x.data) +
               static_cast<size_t>(first + lane / kPieces) * x.pitch + lane % kPieces * kPiece),
          step(kAtOnce * x.pitch),
          rows(x.rows - first - lane / kPieces),
          cols(x.cols - lane % kPieces * kPiece) {}

    const Number* from;
    size_t step;
    int rows, cols;  // that are left
  };
  // Begins to copy the columns from `col` on, by a warp; rows past the last one are zeroes.
  __device__ __forceinline__ void Begin(const Source& x, int col, int lane) {
#pragma unroll
    for (int row = 0; row < kTokens; row += kAtOnce) {
      CopyAsync(&numbers[row + lane / kPieces][lane % kPieces * kPiece],
                x.from + row / kAtOnce * x.step + col, row < x.rows && col < x.cols);
    }
  }
  __device__ __forceinline__ void Load(uint32_t (&b)[kParts][2], int step, int token_tile) const {
    const int lane = threadIdx.x % 32;
    if constexpr (kInput == Input::kBFloat16) {
      LoadMatrix(b[0], &numbers[8 * token_tile + lane % 8][16 * step + lane / 8 % 2 * 8]);
    } else {
      const Number* from = &numbers[8 * token_tile + lane / 4][16 * step + lane % 4 * 2];
      const float2 low = *reinterpret_cast<const float2*>(from);
      const float2 high = *reinterpret_cast<const float2*>(from + 8);
      SplitFour(b, {low.x, low.y, high.x, high.y});
    }
  }
  template <int kSteps>
  __device__ __forceinline__ float2 SumsOf(int group, int token_tile) const {
    return SumGroup<kSteps, kParts>(
        [&](auto& b, int step) { Load(b, group * kSteps + step, token_tile); });
  }

  // Also rows that are copied at once with those.
  alignas(16) Number numbers[kTokens < kAtOnce ? kAtOnce : kTokens][kPitch];
};

}  // namespace softsplice::cuda
