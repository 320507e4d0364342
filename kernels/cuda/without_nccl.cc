// What a program has that was built without NCCL's header.
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "kernels/cuda/comm.h"

namespace softsplice::cuda {

absl::StatusOr<std::vector<std::unique_ptr<Comm>>> MakeNcclComms(absl::Span<const int>,
                                                                 absl::Duration) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   "several devices need NCCL, and this program was built without it",
                   {.reason = reason::kUnfitDevice});
}

}  // namespace softsplice::cuda
