// The best logits of each row, and what their probabilities are over; backend.h says what.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/mat.h"

namespace softsplice::cuda {

// Numbers of 8 bytes to work in, for logits of this shape.
size_t TopLogitsScratch(const Mat& logits);

cudaError_t LaunchTopLogits(cudaStream_t stream, Mat ids, Mat values, Mat stats, Mat logits,
                            uint64_t* scratch);

}  // namespace softsplice::cuda
