// The only place that knows which backends there are.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "kernels/backend_options.h"
#include "kernels/footprint.h"

namespace softsplice {

// INVALID_ARGUMENT: no such backend, or not on this machine.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options);

// Counts what such a backend takes, of "cuda" one of `ranks` that share a model out, whether or not
// there is a device. Not of "ref". INVALID_ARGUMENT: as MakeBackend's, or the program was built
// without CUDA.
absl::StatusOr<std::unique_ptr<CountingBackend>> MakeCounter(const BackendOptions& options,
                                                             int ranks = 1);

// Backends that share a model out, one on each of `devices`, which are 2 to kMostRanks, of "cuda"
// whatever the options' name; kernels/cuda/cuda_backend.h says how they end. Errors as
// MakeBackend's; FAILED_PRECONDITION (UNFIT_DEVICE): there is no NCCL to join the devices.
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeRanks(const BackendOptions& options,
                                                                absl::Span<const int> devices,
                                                                absl::Duration limit);

}  // namespace softsplice
