// What becomes of a head before it is used: its norm, and its rotation, in place and by a block.
#pragma once

#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/rotation.h"

namespace softsplice::cuda {

// Of row r. When it returns, the block's threads may read all of the head. `of_warp` is BlockSum's.
template <int kThreads>
__device__ void NormHead(float* head, int dims, const float* gain, float eps, float* of_warp) {
  NormGroup<kThreads>(head, dims, gain, eps, of_warp, [&](int i, float x) { head[i] = x; });
  __syncthreads();
}
template <int kThreads>
__device__ void TurnHead(float* head, int r, const Rotation& rotation) {
  for (int i = threadIdx.x; i < rotation.half; i += kThreads) rotation.Turn(head, r, i);
  __syncthreads();
}

}  // namespace softsplice::cuda
