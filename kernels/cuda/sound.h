// Ops of the towers: patches, convolutions, pools, local attention; backend.h has the formulas.
// float32; y of Unfold and LocalAttention may be bfloat16.
#pragma once

#include <cuda_runtime.h>

#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

cudaError_t LaunchUnfold(cudaStream_t stream, Mat y, Mat x, int channels, int first);
cudaError_t LaunchAveragePool(cudaStream_t stream, Mat y, Mat x, int columns, int size);
// kernel: [cols, width], on the device.
cudaError_t LaunchDepthwiseConv(cudaStream_t stream, Mat y, Mat x, const float* kernel, int width,
                                Mat starts);
cudaError_t LaunchLocalAttention(cudaStream_t stream, Mat y, Mat q, Mat k, Mat v, Mat relative,
                                 Mat starts, const LocalAttentionSpec& spec);

}  // namespace softsplice::cuda
