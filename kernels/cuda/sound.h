// Ops of the towers: patches, convolutions, pools, local attention; tower_ops.h and backend.h have
// the formulas. float32; y of Unfold, GluConv and LocalAttention may be bfloat16.
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
// As Backend::GluConv; the gain [cols] is on the device, too.
cudaError_t LaunchGluConv(cudaStream_t stream, Mat y, Mat x, const float* kernel, int width,
                          const float* gain, float eps, Mat starts);

// What queries and keys are multiplied by; q: on the device, of `period` numbers, or null: 1.
struct LocalScales {
  const float* q = nullptr;
  int period = 1;
  float k = 1;
};
cudaError_t LaunchLocalAttention(cudaStream_t stream, Mat y, Mat q, Mat k, Mat v, Mat relative,
                                 Mat starts, const LocalScales& scales,
                                 const LocalAttentionSpec& spec);

}  // namespace softsplice::cuda
