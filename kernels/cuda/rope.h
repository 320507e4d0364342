// Rotary embedding, in place, float32.
#pragma once

#include <cuda_runtime.h>

#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

// As Backend::Rope. On the device: frequencies[i] = base^(-2i / count), and factors or null, both
// [count / 2].
cudaError_t LaunchRope(cudaStream_t stream, Mat x, Mat positions, const RopeSpec& spec,
                       const float* frequencies, const float* factors);

}  // namespace softsplice::cuda
