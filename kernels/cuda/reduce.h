// Sums over a block. Their order depends on the number of threads alone.
#pragma once

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

__device__ inline float WarpSum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// The sum over a block of kThreads (in x), for all of them. `of_warp` is shared memory for
// kThreads / 32 numbers, of one sum: the next one needs another.
template <int kThreads>
__device__ float BlockSum(float value, float* of_warp) {
  value = WarpSum(value);
  if constexpr (kThreads > 32) {
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
    for (int i = 0; i < kThreads / 32; ++i) value += of_warp[i];
  }
  return value;
}

}  // namespace softsplice::cuda
