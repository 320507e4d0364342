// Keys and values of new rows into the cache.
#pragma once

#include <cuda_runtime.h>

#include "kernels/specs.h"

namespace softsplice::cuda {

// k and v: float32; the cache: float32 or float16, both of one type.
cudaError_t LaunchKvAppend(cudaStream_t stream, const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                           const KvPages& pages);

}  // namespace softsplice::cuda
