// Rows looked up by number: of tables of any GGUF type, and of matrices.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/gguf/types.h"
#include "kernels/mat.h"

namespace softsplice::cuda {

// A table, as it is in the file, in memory that the device reads.
struct Table {
  gguf::Type type;
  const uint8_t* data;
  size_t row_bytes;
};

// y[i] = scale * table[ids[i]]; y[i] += table[ids[i]]. y: float32.
cudaError_t LaunchEmbed(cudaStream_t stream, Mat y, Mat ids, const Table& table, float scale);
cudaError_t LaunchAddEmbedding(cudaStream_t stream, Mat y, Mat ids, const Table& table);
// y[i] = x[index[i]]; y[index[i]] = x[i]. Of any type, y of x's.
cudaError_t LaunchGatherRows(cudaStream_t stream, Mat y, Mat x, Mat index);
cudaError_t LaunchScatterRows(cudaStream_t stream, Mat y, Mat x, Mat index);

}  // namespace softsplice::cuda
