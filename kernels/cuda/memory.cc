// See memory.h.
#include "kernels/cuda/memory.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice::cuda {

absl::Status ToStatus(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInternal,
                   absl::StrCat("CUDA: ", what, ": ", cudaGetErrorString(error)),
                   {.reason = reason::kDeviceError});
}

absl::StatusOr<std::shared_ptr<void>> AllocateDevice(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // it is told here, and nothing else is wrong
    size_t free = 0;
    size_t total = 0;
    (void)cudaMemGetInfo(&free, &total);
    return OutOfMemory(absl::StrCat("the device lacks memory: ", bytes, " bytes are needed, ", free,
                                    " of ", total, " are free"));
  }
  if (error != cudaSuccess) return ToStatus("Allocate", error);
  return std::shared_ptr<void>(memory, [](void* p) { (void)cudaFree(p); });
}

absl::StatusOr<std::shared_ptr<void>> AllocatePinned(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaHostAlloc(&memory, bytes, cudaHostAllocDefault);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return OutOfMemory(absl::StrCat("the host lacks pinned memory: ", bytes, " bytes are needed"));
  }
  if (error != cudaSuccess) return ToStatus("AllocateStaging", error);
  std::memset(memory, 0, bytes);
  return std::shared_ptr<void>(memory, [](void* p) { (void)cudaFreeHost(p); });
}

Staging::~Staging() { (void)cudaFreeHost(memory_); }

cudaError_t Staging::Upload(void* to, size_t pitch, const void* from, size_t row_bytes,
                            size_t rows) {
  const size_t bytes = row_bytes * rows;
  if (bytes == 0) return cudaSuccess;
  if (bytes > kPiece) {  // in halves: of the rows, or of the only one
    const size_t first = (rows > 1 ? rows : row_bytes) / 2;
    const size_t from_bytes = rows > 1 ? first * row_bytes : first;
    const size_t to_bytes = rows > 1 ? first * pitch : first;
    const cudaError_t error =
        Upload(to, pitch, from, rows > 1 ? row_bytes : first, rows > 1 ? first : 1);
    if (error != cudaSuccess) return error;
    return Upload(static_cast<char*>(to) + to_bytes, pitch,
                  static_cast<const char*>(from) + from_bytes,
                  rows > 1 ? row_bytes : row_bytes - first, rows > 1 ? rows - first : 1);
  }
  char* room = nullptr;
  const cudaError_t error = Take(bytes, &room);
  if (error != cudaSuccess) return error;
  std::memcpy(room, from, bytes);
  return cudaMemcpy2DAsync(to, pitch, room, row_bytes, row_bytes, rows, cudaMemcpyHostToDevice,
                           stream_);
}

cudaError_t Staging::Take(size_t bytes, char** room) {
  if (memory_ == nullptr) {
    void* memory = nullptr;
    const cudaError_t error = cudaHostAlloc(&memory, kBytes, cudaHostAllocDefault);
    if (error != cudaSuccess) return error;
    memory_ = static_cast<char*>(memory);
  }
  if (used_ + bytes > kBytes) {
    const cudaError_t error = cudaStreamSynchronize(stream_);
    if (error != cudaSuccess) return error;
    Reset();
  }
  *room = memory_ + used_;
  used_ += bytes;
  return cudaSuccess;
}

}  // namespace softsplice::cuda
