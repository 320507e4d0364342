// A row, or a group of its columns, in the registers of a block's threads, and its norm: 1 /
// sqrt(mean(x^2) + eps) times each number and its gain. The order of sums depends on the number of
// threads alone.
#pragma once

#include <type_traits>

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/shapes.h"

namespace softsplice::cuda {

// Thread t of kThreads has numbers t, t + kThreads, ... Small groups have a warp each, and blocks
// some of them.
using Numbers = float[kNormNumbers];
template <int kThreads>
inline constexpr int kGroupsOfBlock = kThreads == 32 ? 4 : 1;
template <int kThreads>
__device__ __forceinline__ int GroupOfBlock() {
  return kThreads == 32 ? threadIdx.x / 32 : 0;
}
template <int kThreads>
__device__ __forceinline__ void SyncGroup() {
  if constexpr (kThreads == 32) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

// Calls function(j, i) for each of the thread's numbers: j of its own, i of the group.
template <int kThreads, class F>
__device__ __forceinline__ void ForEachNumber(int count, const F& function) {
#pragma unroll
  for (int j = 0; j < kNormNumbers; ++j) {
    const int i = threadIdx.x % kThreads + j * kThreads;
    if (i < count) function(j, i);
  }
}

template <int kThreads>
__device__ __forceinline__ void Load(Numbers& to, const float* from, int count) {
  ForEachNumber<kThreads>(count, [&](int j, int i) { to[j] = from[i]; });
}
// `gain` may be null: 1.
template <int kThreads>
__device__ __forceinline__ void LoadGain(Numbers& to, const float* gain, int count) {
  ForEachNumber<kThreads>(count, [&](int j, int i) { to[j] = gain == nullptr ? 1 : gain[i]; });
}

// The sum of function(j)^2 over all numbers of the group. `of_warp` is BlockSum's.
template <int kThreads, class F>
__device__ __forceinline__ float SumOfSquares(int count, float* of_warp, const F& function) {
  float sum = 0;
  ForEachNumber<kThreads>(count, [&](int j, int) { sum += function(j) * function(j); });
  return BlockSum<kThreads>(sum, of_warp);
}

// What the norm multiplies each number by, besides its gain.
template <int kThreads>
__device__ __forceinline__ float NormFactor(const Numbers& x, int count, float eps,
                                            float* of_warp) {
  const float sum = SumOfSquares<kThreads>(count, of_warp, [&](int j) { return x[j]; });
  return 1 / sqrtf(sum / static_cast<float>(count) + eps);
}

// Calls launch(threads) with the number of threads for a group as a constant.
template <class F>
cudaError_t WithNormThreads(int numbers, const F& launch) {
  switch (NormThreads(numbers)) {
    case 32:
      return launch(std::integral_constant<int, 32>());
    case 128:
      return launch(std::integral_constant<int, 128>());
    case 512:
      return launch(std::integral_constant<int, 512>());
    case 1024:
      return launch(std::integral_constant<int, 1024>());
  }
  return cudaErrorInvalidValue;
}

}  // namespace softsplice::cuda
