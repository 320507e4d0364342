// x as the prefill kernel copies it, where it is not so already: rounded to bfloat16, or (exact)
// split into two such parts; clamped; each row followed by zeroes to a whole chunk of columns.
#pragma once

#include "kernels/cuda/matmul_product.h"
#include "kernels/cuda/matmul_sums.h"

namespace softsplice::cuda {

inline constexpr int kOperandThreads = 128;  // four numbers each

__device__ inline float NumberOf(const Operand& x, int token, int col) {
  if (col >= x.cols) return 0;
  const size_t at = static_cast<size_t>(token) * x.pitch + static_cast<size_t>(col);
  const float number = x.is_bfloat16 ? BFloat16ToFloat(static_cast<const uint16_t*>(x.data)[at])
                                     : static_cast<const float*>(x.data)[at];
  return Clamp(number, x.lo, x.hi);
}

// to: of each part [rows, cols], cols being a multiple of four. A block has some columns of a row.
template <int kXParts>
__global__ void __launch_bounds__(kOperandThreads)
    RoundOperand(uint16_t* to, Operand x, int cols, size_t part) {
  WaitForPrevious();
  const int token = static_cast<int>(blockIdx.x);
  const int col = static_cast<int>(blockIdx.y * kOperandThreads + threadIdx.x) * 4;
  if (col >= cols) return;
  float numbers[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) numbers[i] = NumberOf(x, token, col + i);
  uint32_t words[kXParts][2];
  SplitFour(words, numbers);
  to += static_cast<size_t>(token) * cols + col;
#pragma unroll
  for (int i = 0; i < kXParts; ++i) {
    *reinterpret_cast<uint2*>(to + static_cast<size_t>(i) * part) = {words[i][0], words[i][1]};
  }
}

}  // namespace softsplice::cuda
