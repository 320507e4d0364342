// Where a model file could run, and what it would take there.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "kernels/footprint.h"
#include "nlohmann/json.hpp"

namespace softsplice {

struct Placement {
  // With the services' default options, on a CPU and on a GPU.
  absl::StatusOr<Footprint> host, device;
  // INVALID_ARGUMENT says why there is none.
  absl::StatusOr<std::vector<DeviceUse>> devices;
};

// Of a text model or, with `mmproj`, of an encoder's file; one that the services can serve.
Placement PlacementOf(const gguf::File& file, bool mmproj);

// Labels and texts.
std::vector<std::pair<std::string, std::string>> PlacementLines(const Placement& placement);
// {"cpu_memory": {...} or the reason, "gpu_memory": {...} or the reason, "gpus": [...] or the
// reason}.
nlohmann::ordered_json PlacementJson(const Placement& placement);

}  // namespace softsplice
