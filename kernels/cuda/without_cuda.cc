// What a program has that was built without CUDA.
#include "common/status/error.h"
#include "kernels/cuda/cuda_backend.h"

namespace softsplice {

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions&) {
  return InvalidField("backend", "this program was built without CUDA");
}

}  // namespace softsplice
