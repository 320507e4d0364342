// Memory for backends whose device is the host.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace softsplice {

// `bytes` (may be 0) of zeroes, aligned to 256 bytes; large ones come in huge pages where the
// system has them. RESOURCE_EXHAUSTED when memory is short.
absl::StatusOr<std::shared_ptr<void>> AllocateHost(size_t bytes);

// Room for what is written anew each time; only grows. Not thread-safe.
class HostBuffer {
 public:
  // At least `bytes`; what was in it is lost if it has to grow. RESOURCE_EXHAUSTED: memory is
  // short, and the buffer is empty now.
  absl::Status Grow(size_t bytes);

  template <class T>
  T* As() const {
    return static_cast<T*>(memory_.get());
  }

 private:
  std::shared_ptr<void> memory_;
  size_t bytes_ = 0;
};

}  // namespace softsplice
