// Memory that there is twice, here and on the device, so that the small arrays of a step travel
// together.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "common/status/macros.h"
#include "kernels/backend.h"

namespace softsplice {

// Matrices are laid out on the device's side, by an Arena from `device()` on.
class Mirror {
 public:
  // RESOURCE_EXHAUSTED: memory is short. Once.
  absl::Status Allocate(Backend& backend, size_t bytes) {
    ASSIGN_OR_RETURN(device_, backend.Allocate(bytes));
    ASSIGN_OR_RETURN(host_, backend.AllocateStaging(bytes));
    return absl::OkStatus();
  }

  void* device() const { return device_.get(); }
  // The place on this side of `row` of a matrix that lies on the other.
  template <class T>
  T* Host(const Mat& mat, int row = 0) const {
    const ptrdiff_t begin = static_cast<const char*>(mat.data) - static_cast<const char*>(device());
    return reinterpret_cast<T*>(host() + begin) + static_cast<ptrdiff_t>(row) * mat.pitch;
  }

  // The first `bytes`, as Backend::Upload and Download do.
  void Upload(Backend& backend, size_t bytes) const { backend.Upload(First(bytes), host()); }
  void Download(Backend& backend, size_t bytes) const { backend.Download(host(), First(bytes)); }

 private:
  char* host() const { return static_cast<char*>(host_.get()); }
  Mat First(size_t bytes) const {
    const int numbers = static_cast<int>(bytes / SizeOf(DType::kI32));
    return {device(), 1, numbers, numbers, DType::kI32};
  }

  std::shared_ptr<void> device_, host_;
};

}  // namespace softsplice
