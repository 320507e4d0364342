// Kernels that treat each number of a matrix by itself.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {

template <class Op>
__global__ void __launch_bounds__(kMostElementThreads) ForEach(Op op, int cols) {
  WaitForPrevious();
  const int first = blockIdx.y * kElementsPerBlock;
  const int end = min(cols, first + kElementsPerBlock);
  for (int c = first + threadIdx.x; c < end; c += blockDim.x) op(blockIdx.x, c);
}

// Calls op(row, column), a __device__ function, for each place of a matrix [rows, cols].
template <class Op>
cudaError_t LaunchForEach(cudaStream_t stream, int rows, int cols, Op op) {
  const ElementShape shape = ElementShapeOf(cols);
  return Launch(stream, dim3(rows, shape.blocks_per_row), dim3(shape.threads), 0, ForEach<Op>, op,
                cols);
}

}  // namespace softsplice::cuda
