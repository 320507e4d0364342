// Norms of rows of float32, y float32 or bfloat16; backend.h has the formulas. Sums of a row do not
// depend on other rows.
#pragma once

#include <cuda_runtime.h>

#include "kernels/mat.h"

namespace softsplice::cuda {

// y may be x; gain (on the device, [group]) may be null.
cudaError_t LaunchRmsNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps,
                          int group);
// x += norm(h) * gain. h is left as it is.
cudaError_t LaunchAddNorm(cudaStream_t stream, Mat x, Mat h, const float* gain, float eps);
// As Backend::AddNormNorm; y may be h, which else is left as it is. All weights are on the device.
cudaError_t LaunchAddNormNorm(cudaStream_t stream, Mat y, Mat x, Mat h, const float* gain,
                              const float* scale, const float* next_gain, float eps);
// What would be less than `least` becomes that.
cudaError_t LaunchLayerNorm(cudaStream_t stream, Mat y, Mat x, const float* gain, float eps,
                            float least);

}  // namespace softsplice::cuda
