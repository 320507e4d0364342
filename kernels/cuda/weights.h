// Weights on the device: from the tensors of a file to what kernels read.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "common/gguf/part.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/memory.h"
#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice::cuda {

// Memory of the current device for `bytes`, and their copy on its way there.
absl::StatusOr<std::shared_ptr<void>> CopyToDevice(Staging& staging, const void* from,
                                                   size_t bytes);

// As Backend::Pack, for the current device.
absl::StatusOr<Weight> PackWeight(Staging& staging, const gguf::Tensor& tensor, Use use);

// As Backend::PackPart, of rank `rank` of `ranks`, for the current device.
absl::StatusOr<Weight> PackPart(Staging& staging, const gguf::Tensor& tensor, gguf::Split split,
                                int rank, int ranks);

// A table in pinned memory of the host, which kernels read.
absl::StatusOr<Weight> PackTableOnHost(const gguf::Tensor& tensor);

// What is packed for lookups, and as a vector; that of linear layers is matmul.h's.
const Table& TableOf(const Weight& w);
const float* Vector(const Weight& w);
const float* VectorOrNull(const Weight* w);

}  // namespace softsplice::cuda
