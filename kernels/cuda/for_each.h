// Kernels that treat each number of a matrix by itself.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/shapes.h"
#include "kernels/cuda/view.h"

namespace softsplice::cuda {

template <class Op>
__global__ void __launch_bounds__(kMostElementThreads)
    ForEach(Op op, int rows, int cols, ElementShape shape) {
  WaitForPrevious();
  const int of_block = threadIdx.x / shape.threads_of_row;
  const int r = blockIdx.x * shape.rows_of_block + of_block;
  if (of_block >= shape.rows_of_block || r >= rows) return;
  const int first = blockIdx.y * kElementsPerBlock;
  const int end = min(cols, first + kElementsPerBlock);
  for (int c = first + threadIdx.x % shape.threads_of_row; c < end; c += shape.threads_of_row) {
    op(r, c);
  }
}

// Calls op(row, column), a __device__ function, for each place of a matrix [rows, cols].
template <class Op>
cudaError_t LaunchForEach(cudaStream_t stream, int rows, int cols, Op op) {
  const ElementShape shape = ElementShapeOf(cols);
  const int blocks = (rows + shape.rows_of_block - 1) / shape.rows_of_block;
  return Launch(stream, dim3(blocks, shape.blocks_per_row), dim3(shape.threads), 0, ForEach<Op>, op,
                rows, cols, shape);
}

}  // namespace softsplice::cuda
