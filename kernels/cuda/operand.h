// x as the prefill kernel copies it, where it is not so already: rounded to bfloat16, or (exact)
// split into two such parts; clamped; each row followed by zeroes to a whole chunk of columns.
#pragma once

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"

namespace softsplice::cuda {

inline constexpr int kOperandThreads = 256;
inline constexpr int kOperandNumbers = 8;  // of a thread

// Numbers of a row from `col` on; zeroes past its last one. Whole: all are there, aligned to 16
// bytes.
__device__ __forceinline__ void LoadNumbers(float (&numbers)[kOperandNumbers], const Operand& x,
                                            int token, int col, bool whole) {
  const size_t at = static_cast<size_t>(token) * x.pitch + static_cast<size_t>(col);
  const auto* floats = static_cast<const float*>(x.data) + at;
  const auto* halves = static_cast<const uint16_t*>(x.data) + at;
  if (whole && x.is_bfloat16) {
    const uint4 four = *reinterpret_cast<const uint4*>(halves);
    const uint32_t words[] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < kOperandNumbers; ++i) {
      numbers[i] = BFloat16ToFloat(static_cast<uint16_t>(words[i / 2] >> i % 2 * 16));
    }
  } else if (whole) {
#pragma unroll
    for (int i = 0; i < kOperandNumbers; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(floats + i);
      numbers[i] = four.x, numbers[i + 1] = four.y;
      numbers[i + 2] = four.z, numbers[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kOperandNumbers; ++i) {
      numbers[i] = col + i >= x.cols ? 0 : x.is_bfloat16 ? BFloat16ToFloat(halves[i]) : floats[i];
    }
  }
#pragma unroll
  for (float& number : numbers) number = Clamp(number, x.lo, x.hi);
}

// to: of each part [rows, cols], cols being a multiple of kChunk. `whole`: rows of x are aligned to
// 16 bytes, and of a multiple of eight numbers.
template <int kXParts>
__global__ void __launch_bounds__(kOperandThreads)
    RoundOperand(uint16_t* to, Operand x, int cols, size_t part, bool whole) {
  WaitForPrevious();
  const int index = static_cast<int>(blockIdx.x * kOperandThreads + threadIdx.x);
  const int of_row = cols / kOperandNumbers;
  const int token = index / of_row, col = index % of_row * kOperandNumbers;
  if (token >= x.rows) return;
  float numbers[kOperandNumbers];
  LoadNumbers(numbers, x, token, col, whole && col < x.cols);
  uint32_t words[2][kXParts][2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float four[] = {numbers[4 * i], numbers[4 * i + 1], numbers[4 * i + 2],
                          numbers[4 * i + 3]};
    SplitFour(words[i], four);
  }
  to += static_cast<size_t>(token) * cols + col;
#pragma unroll
  for (int i = 0; i < kXParts; ++i) {
    *reinterpret_cast<uint4*>(to + static_cast<size_t>(i) * part) = {
        words[0][i][0], words[0][i][1], words[1][i][0], words[1][i][1]};
  }
}

}  // namespace softsplice::cuda
