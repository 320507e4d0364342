// Keys and values of new rows into the cache.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/rope.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

// k and v: float32; the cache: float32 or float16, both of one type.
cudaError_t LaunchKvAppend(cudaStream_t stream, const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                           const KvPages& pages);
// As Backend::NormAppend; the gains: on the device, [head_dim].
cudaError_t LaunchNormAppend(cudaStream_t stream, const KvLayer& kv, Mat q, Mat k, Mat v,
                             const float* q_gain, const float* k_gain, float eps,
                             const RopeSpec& spec, const RopeTables& tables, const RowMap& rows,
                             const KvPages& pages);

}  // namespace softsplice::cuda
