// What becomes of a head before it is used: its norm, and its rotation, by kThreads threads.
#pragma once

#include <type_traits>

#include "kernels/cuda/norm_group.h"
#include "kernels/cuda/rotation.h"

namespace softsplice::cuda {

template <int kThreads>
struct HeadTile {
  float of_warp[kThreads / 32];
  float head[kThreads * kNormNumbers];
};

// Leaves the norm in the tile, for all threads.
template <int kThreads>
__device__ void NormHead(HeadTile<kThreads>& tile, const float* head, int dims,
                         const Numbers& gains, float eps) {
  Numbers numbers;
  Load<kThreads>(numbers, head, dims);
  const float factor = NormFactor<kThreads>(numbers, dims, eps, tile.of_warp);
  ForEachNumber<kThreads>(dims,
                          [&](int j, int i) { tile.head[i] = numbers[j] * factor * gains[j]; });
  SyncGroup<kThreads>();
}
template <int kThreads>
__device__ void TurnHead(HeadTile<kThreads>& tile, int position, const Rotation& rotation) {
  for (int i = threadIdx.x % kThreads; i < rotation.half; i += kThreads) {
    rotation.Turn(tile.head, position, i);
  }
  SyncGroup<kThreads>();
}

// Calls launch(threads) with the number of threads for a head as a constant.
template <class F>
cudaError_t WithHeadThreads(int dims, const F& launch) {
  switch (NormThreads(dims)) {
    case 32:
      return launch(std::integral_constant<int, 32>());
    case 128:
      return launch(std::integral_constant<int, 128>());
  }
  return cudaErrorInvalidValue;
}

}  // namespace softsplice::cuda
