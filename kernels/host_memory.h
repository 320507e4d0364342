// Zeroed memory for backends whose device is the host.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"

namespace softsplice {

// `bytes` (may be 0) of zeroes, aligned to 256 bytes; large ones come in huge pages where the
// system has them. RESOURCE_EXHAUSTED when memory is short.
absl::StatusOr<std::shared_ptr<void>> AllocateHost(size_t bytes);

}  // namespace softsplice
