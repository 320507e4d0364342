// Rotary embedding, in place, float32.
#pragma once

#include <cuda_runtime.h>

#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

// On the device, both [count / 2] of a RopeSpec: base^(-2i / count), and its factors or null.
struct RopeTables {
  const float* frequencies;
  const float* factors;
};

// As Backend::Rope and Backend::HeadNormRope; gain: on the device, [head_dim].
cudaError_t LaunchRope(cudaStream_t stream, Mat x, Mat positions, const RopeSpec& spec,
                       const RopeTables& tables);
cudaError_t LaunchHeadNormRope(cudaStream_t stream, Mat x, const float* gain, float eps,
                               Mat positions, const RopeSpec& spec, const RopeTables& tables);

}  // namespace softsplice::cuda
