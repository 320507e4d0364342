// Memory of a tower's passes, and how their rows get home.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/arena.h"
#include "kernels/backend.h"

namespace softsplice {

// One calling thread. `backend` outlives it.
class Workspace {
 public:
  explicit Workspace(Backend& backend) : backend_(backend) {}

  // An arena for `pass`, which is run once without a device to learn how much it takes. What an
  // earlier arena held is lost; the memory grows to the largest pass seen. RESOURCE_EXHAUSTED:
  // memory is short.
  absl::StatusOr<Arena> Plan(const std::function<void(Backend& backend, Arena& arena)>& pass);

  // Waits, and gives the consecutive runs of rows of `x`, which is dense, that have the given
  // lengths. The memory that they come through grows to the largest x seen.
  absl::StatusOr<std::vector<std::vector<float>>> Download(Mat x, absl::Span<const int> lengths);

 private:
  Backend& backend_;
  std::shared_ptr<void> memory_, staging_;
  size_t bytes_ = 0, staging_bytes_ = 0;
};

}  // namespace softsplice
