// The only place that knows which backends there are.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/backend_options.h"

namespace softsplice {

// INVALID_ARGUMENT: no such backend, or not on this machine.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options);

}  // namespace softsplice
