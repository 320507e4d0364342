// The norm of a row, or of a group of its columns, by a block: 1 / sqrt(mean(x^2) + eps) times each
// number and its gain. The order of sums depends on the number of threads alone.
#pragma once

#include "kernels/cuda/reduce.h"

namespace softsplice::cuda {

// `of_warp` is BlockSum's.
template <int kThreads>
__device__ float NormFactor(const float* x, int count, float eps, float* of_warp) {
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += x[i] * x[i];
  return 1 / sqrtf(BlockSum<kThreads>(sum, of_warp) / static_cast<float>(count) + eps);
}

// `gain` may be null: 1.
__device__ inline float Normed(float x, float factor, const float* gain, int i) {
  return x * factor * (gain == nullptr ? 1.0f : gain[i]);
}

// Calls to(i, number) for each number of the norm. A thread reads from[i] and no other place before
// it calls that.
template <int kThreads, class To>
__device__ void NormGroup(const float* from, int count, const float* gain, float eps,
                          float* of_warp, To to) {
  const float factor = NormFactor<kThreads>(from, count, eps, of_warp);
  for (int i = threadIdx.x; i < count; i += kThreads) to(i, Normed(from[i], factor, gain, i));
}

}  // namespace softsplice::cuda
