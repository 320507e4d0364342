// The CUDA backend: each op is a kernel (or a few) on one stream of one device.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/backend.h"

namespace softsplice {

struct CudaOptions {
  int device = 0;  // of those that the process sees
  // Float32 all through: inputs of Matmul in two parts, attention without tensor cores.
  bool exact = false;
  // Waits after each op, so that an error names the op that caused it.
  bool wait_after_ops = false;
  // As BackendOptions has it.
  bool large_tables_on_host = false;
};

// Its Operands(): matmuls round them, unless it is exact.
constexpr DType CudaOperands(bool exact) { return exact ? DType::kF32 : DType::kBF16; }

// INVALID_ARGUMENT: there is no such device here, no driver, or the program was built without CUDA.
// FAILED_PRECONDITION (UNFIT_DEVICE): it cannot run all kernels.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaOptions& options);

// Those of ranks 0, 1, ..., which share a model out, each on one of `devices`. What runs on them
// ends with UNAVAILABLE (RANK_FAILED) where a rank fails, is aborted, or takes longer for a step
// than `limit`. Where a device is named twice, sums go through the host's memory: slow, for checks.
// Errors as MakeCudaBackend's; FAILED_PRECONDITION (UNFIT_DEVICE) also: there is no NCCL.
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeCudaRanks(const CudaOptions& options,
                                                                    absl::Span<const int> devices,
                                                                    absl::Duration limit);

}  // namespace softsplice
