// Memory of the device, and memory of the host that copies to and from it use.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace softsplice::cuda {

// INTERNAL (DEVICE_ERROR), naming what failed; OK where nothing did.
absl::Status ToStatus(const char* what, cudaError_t error);

// At least 256-byte aligned, null for none; its content is undefined. Must not be freed while
// kernels use it: the runtime waits for them. RESOURCE_EXHAUSTED says what is needed and what there
// is.
absl::StatusOr<std::shared_ptr<void>> AllocateDevice(size_t bytes);

// Pinned memory of the host, zeroed; otherwise as AllocateDevice.
absl::StatusOr<std::shared_ptr<void>> AllocatePinned(size_t bytes);

// Pinned memory, through which what lies in any other memory of the host is uploaded. Of one stream
// and one thread.
class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();

  // Enqueues a copy of `rows` dense rows to rows `pitch` bytes apart. The source may change or go
  // when this returns.
  cudaError_t Upload(void* to, size_t pitch, const void* from, size_t row_bytes, size_t rows);
  // All that was enqueued is done: its room is free.
  void Reset() { used_ = 0; }

 private:
  // Room for `bytes`, which is at most kPiece; waits for the stream where there is none.
  cudaError_t Take(size_t bytes, char** room);

  static constexpr size_t kBytes = size_t{32} << 20;
  // One of them is on its way while the next one is copied here.
  static constexpr size_t kPiece = size_t{1} << 20;

  cudaStream_t stream_;
  char* memory_ = nullptr;
  size_t used_ = 0;
};

}  // namespace softsplice::cuda
