// Ops on each number by itself, float32; backend.h has the formulas.
#pragma once

#include <cuda_runtime.h>

#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

cudaError_t LaunchGeluMul(cudaStream_t stream, Mat gate, Mat up, Gelu gelu);
cudaError_t LaunchAdd(cudaStream_t stream, Mat y, Mat x);
cudaError_t LaunchScale(cudaStream_t stream, Mat x, float factor);
// The factor is on the device.
cudaError_t LaunchScale(cudaStream_t stream, Mat x, const float* factor);
cudaError_t LaunchSoftcap(cudaStream_t stream, Mat x, float cap);
cudaError_t LaunchRelu(cudaStream_t stream, Mat x);
cudaError_t LaunchSilu(cudaStream_t stream, Mat x);
cudaError_t LaunchGlu(cudaStream_t stream, Mat y, Mat x);
// The vectors are on the device: of x.cols numbers; of `period`.
cudaError_t LaunchAddVector(cudaStream_t stream, Mat x, const float* vector);
cudaError_t LaunchMulVector(cudaStream_t stream, Mat x, const float* vector, int period);

}  // namespace softsplice::cuda
