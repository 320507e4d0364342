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

  // The ops of a tower; gives the rows to be downloaded, which are dense.
  using Pass = std::function<Mat(Backend& backend, Arena& arena)>;

  // An arena for `pass`, which is run once without a device to learn how much it takes. What an
  // earlier arena held is lost; the memory grows to the largest pass seen. RESOURCE_EXHAUSTED:
  // memory is short.
  absl::StatusOr<Arena> Plan(const Pass& pass);

  // Takes all memory for passes up to this one now, also what its ops work in.
  absl::Status Reserve(const Pass& pass);

  // Waits, and gives the consecutive runs of a pass's rows that have the given lengths.
  absl::StatusOr<std::vector<std::vector<float>>> Download(Mat rows, absl::Span<const int> lengths);

 private:
  absl::Status Grow(size_t bytes, size_t staging_bytes);

  Backend& backend_;
  std::shared_ptr<void> memory_, staging_;
  size_t bytes_ = 0, staging_bytes_ = 0;
};

}  // namespace softsplice
