// How the devices that share a model out meet.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace softsplice::cuda {

// Of one rank. One thread calls it, but for Abort. Errors are UNAVAILABLE (RANK_FAILED), and stay:
// nothing is tried again.
class Comm {
 public:
  virtual ~Comm() = default;

  // Enqueues: the x of every rank [count, on its device] becomes the sum of all ranks' x, the same
  // bits for all. All ranks call it with the same counts in the same order. What happens later is
  // Wait's to tell.
  virtual absl::Status AllReduce(cudaStream_t stream, float* x, size_t count) = 0;
  // Returns when the stream has done its work, another rank failed, or the limit is over.
  virtual absl::Status Wait(cudaStream_t stream) = 0;
  // Whether AllReduce can be recorded as a graph's.
  virtual bool CanRecord() const = 0;
  // Any thread: ends what the rank waits for, now and later, because of `why`.
  virtual void Abort(const absl::Status& why) = 0;
};

// One for each rank, in order, over NCCL; the library is loaded now. FAILED_PRECONDITION
// (UNFIT_DEVICE): there is none, or it cannot join these devices, which are all different. `limit`:
// how long they take to join, and a step, at most.
absl::StatusOr<std::vector<std::unique_ptr<Comm>>> MakeNcclComms(absl::Span<const int> devices,
                                                                 absl::Duration limit);

// One for each rank, in order, through the host's memory: slow, and for any devices, also for ranks
// on one and the same. `limit`: how long a rank waits for the others.
std::vector<std::unique_ptr<Comm>> MakeThreadComms(int ranks, absl::Duration limit);

}  // namespace softsplice::cuda
