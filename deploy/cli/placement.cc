#include "deploy/cli/placement.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/config/text_config.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "decoder_svc/engine/engine.h"
#include "encoder_svc/encoder.h"
#include "kernels/devices.h"

namespace softsplice {
namespace {

using nlohmann::ordered_json;

absl::StatusOr<Footprint> Need(const gguf::File& file, bool mmproj) {
  if (mmproj) return Encoder::Measure(file, {});
  ASSIGN_OR_RETURN(const TextConfig config, TextConfig::FromGguf(file));
  EngineOptions options;
  options.context_length = std::min(options.context_length, config.context_length);
  return Engine::Measure(file, options);
}

absl::StatusOr<std::vector<DeviceUse>> AllDevices() {
  ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, Devices());
  std::vector<int> indices(devices.size());
  std::iota(indices.begin(), indices.end(), 0);
  return UseOf(indices, {});
}

}  // namespace

Placement PlacementOf(const gguf::File& file, bool mmproj) {
  return {Need(file, mmproj), AllDevices()};
}

std::vector<std::pair<std::string, std::string>> PlacementLines(const Placement& placement) {
  const auto& [need, devices] = placement;
  std::vector<std::pair<std::string, std::string>> lines;
  if (need.ok()) {
    lines.emplace_back("On a GPU", absl::StrCat("it takes ", Describe(*need),
                                                " with the service's default options"));
  }
  if (!devices.ok()) {
    lines.emplace_back("GPUs", absl::StrCat("none: ", devices.status().message()));
    return lines;
  }
  for (const DeviceUse& use : *devices) {
    lines.emplace_back(
        use.index == 0 ? "GPUs" : "",
        absl::StrCat(use.index, ": ", use.device.name, ", ", BytesForPeople(use.free_bytes), " of ",
                     BytesForPeople(use.device.total_bytes), " free",
                     use.device.unfit.empty() ? "" : "; it ", use.device.unfit));
  }
  return lines;
}

ordered_json PlacementJson(const Placement& placement) {
  const auto& [need, devices] = placement;
  ordered_json json;
  json["gpu_memory"] = need.ok() ? ordered_json{{"bytes", need->Total()},
                                                {"weights", need->weights},
                                                {"keys_and_values", need->caches},
                                                {"workspace", need->workspace}}
                                 : ordered_json(std::string(need.status().message()));
  if (!devices.ok()) {
    json["gpus"] = std::string(devices.status().message());
    return json;
  }
  json["gpus"] = ordered_json::array();
  for (const DeviceUse& use : *devices) {
    json["gpus"].push_back({{"index", use.index},
                            {"name", use.device.name},
                            {"bytes", use.device.total_bytes},
                            {"free_bytes", use.free_bytes}});
  }
  return json;
}

}  // namespace softsplice
