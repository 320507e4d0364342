#include "deploy/cli/placement.h"

#include <algorithm>
#include <numeric>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "common/config/text_config.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "decoder_svc/engine/engine.h"
#include "encoder_svc/encoder.h"
#include "kernels/choose_backend.h"
#include "kernels/devices.h"

namespace softsplice {
namespace {

using nlohmann::ordered_json;

absl::StatusOr<Footprint> Need(const gguf::File& file, bool mmproj, const char* backend) {
  if (mmproj) return Encoder::Measure(file, {.backend = {.name = backend}});
  ASSIGN_OR_RETURN(const TextConfig config, TextConfig::FromGguf(file));
  EngineOptions options{.backend = {.name = backend}};
  options.context_length = std::min(options.context_length, config.context_length);
  return Engine::Measure(file, options);
}

absl::StatusOr<std::vector<DeviceUse>> AllDevices() {
  ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, Devices());
  std::vector<int> indices(devices.size());
  std::iota(indices.begin(), indices.end(), 0);
  return UseOf(indices, {});
}

ordered_json MemoryJson(const absl::StatusOr<Footprint>& need,
                        absl::FunctionRef<uint64_t(const Footprint&)> in_all) {
  if (!need.ok()) return std::string(need.status().message());
  return {{"bytes", in_all(*need)},
          {"weights", need->weights},
          {"keys_and_values", need->caches},
          {"workspace", need->workspace}};
}

}  // namespace

Placement PlacementOf(const gguf::File& file, bool mmproj) {
  return {Need(file, mmproj, "cpu"), Need(file, mmproj, "cuda"), AllDevices()};
}

std::vector<std::pair<std::string, std::string>> PlacementLines(const Placement& placement) {
  const auto& [host, need, devices] = placement;
  std::vector<std::pair<std::string, std::string>> lines;
  if (host.ok()) {
    lines.emplace_back("On a CPU",
                       absl::StrCat("its service starts with ", BytesForPeople(HostBytes(*host)),
                                    ": the model's ", Describe(*host), ", and some to spare"));
  }
  if (need.ok()) {
    lines.emplace_back("On a GPU", absl::StrCat("it takes ", Describe(*need)));
  }
  lines.emplace_back("", "with the service's default options");
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
  const auto& [host, need, devices] = placement;
  ordered_json json;
  json["cpu_memory"] = MemoryJson(host, HostBytes);
  json["gpu_memory"] = MemoryJson(need, [](const Footprint& gpu) { return gpu.Total(); });
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
