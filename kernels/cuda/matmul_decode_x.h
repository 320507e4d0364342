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

// kColumns columns of kTokens rows of x in shared memory: of one, or of some tiles of eight.
template <Input kInput, int kTokens, int kColumns>
struct DecodedX {
  static constexpr int kParts = kPartsOf<kInput>;
  using Number = std::conditional_t<kInput == Input::kBFloat16, uint16_t, float>;
  static constexpr int kPiece = 16 / sizeof(Number);          // numbers of one copy
  static constexpr int kPieces = kColumns / kPiece;           // of a row
  static constexpr int kLanes = kTokens == 1 ? 32 : kPieces;  // that copy a row
  static constexpr int kAtOnce = 32 / kLanes;                 // rows
  static_assert(32 % kLanes == 0);
  // No two of the lanes that read at once meet in a bank.
  static constexpr int kPitch = kColumns + 8;

  // Where a lane copies from: a piece of each kAtOnce-th row of x, from the first one that it takes
  // of those from `first` on.
  struct Source {
    __device__ __forceinline__ Source(const Operand& x, int first, int lane)
        : from(static_cast<const Number*>(x.data) +
               static_cast<size_t>(first + lane / kLanes) * x.pitch + lane % kLanes * kPiece),
          step(kAtOnce * x.pitch),
          rows(x.rows - first - lane / kLanes),
          cols(x.cols - lane % kLanes * kPiece) {}

    const Number* from;
    size_t step;
    int rows, cols;  // that are left
  };
  // Begins to copy the columns from `col` on, by a warp; rows past the last one are zeroes.
  __device__ __forceinline__ void Begin(const Source& x, int col, int lane) {
#pragma unroll
    for (int row = 0; row < kTokens; row += kAtOnce) {
#pragma unroll
      for (int i = 0; i < kPieces; i += kLanes) {
        if (i + lane % kLanes >= kPieces) break;
        CopyAsync(&numbers[row + lane / kLanes][lane % kLanes * kPiece + i * kPiece],
                  x.from + row / kAtOnce * x.step + col + i * kPiece,
                  row < x.rows && col + i * kPiece < x.cols);
      }
    }
  }

  // What AddTile takes for x: columns of a tile.
  struct OfTile {
    __device__ __forceinline__ void Load(uint32_t (&b)[kParts][2], int step, int token_tile) const {
      const Number* at = from + 8 * token_tile * kPitch + 16 * step;
      if constexpr (kInput == Input::kBFloat16) {
        LoadMatrix(b[0], at);
      } else {
        const float2 low = *reinterpret_cast<const float2*>(at);
        const float2 high = *reinterpret_cast<const float2*>(at + 8);
        SplitFour(b, {low.x, low.y, high.x, high.y});
      }
    }
    template <int kSteps>
    __device__ __forceinline__ float2 SumsOf(int group, int token_tile) const {
      return SumGroup<kSteps, kParts>(
          [&](auto& b, int step) { Load(b, group * kSteps + step, token_tile); });
    }

    const Number* from;  // the lane's first numbers
  };
  // From column `col` on. Of a single row: the other seven that the tensor core takes are `zeroes`.
  __device__ __forceinline__ OfTile From(int col, const Number* zeroes, int lane) const {
    constexpr bool kMatrices = kInput == Input::kBFloat16;  // as LoadMatrix wants their rows
    const int token = kMatrices ? lane % 8 : lane / 4;
    const Number* row = kTokens == 1 && token > 0 ? zeroes : numbers[token % kTokens];
    return {row + col + (kMatrices ? lane / 8 % 2 * 8 : lane % 4 * 2)};
  }

  // Also rows that are copied at once with those.
  alignas(16) Number numbers[kTokens < kAtOnce ? kAtOnce : kTokens][kPitch];
};

}  // namespace softsplice::cuda
