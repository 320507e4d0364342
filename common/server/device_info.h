// What both services tell of the devices that they run on.
#pragma once

#include "common/text/utf8.h"
#include "softsplice/v1/device.pb.h"

namespace softsplice {

// Appends a message for each of `uses`: DeviceUse of kernels/footprint.h, which common does not
// know.
template <class Uses, class Response>
void FillDevices(const Uses& uses, Response* to) {
  for (const auto& use : uses) {
    v1::Device* device = to->add_devices();
    device->set_index(static_cast<uint32_t>(use.index));
    device->set_name(ToUtf8(use.device.name));
    device->set_total_bytes(use.device.total_bytes);
    device->set_free_bytes(use.free_bytes);
    device->set_model_bytes(use.footprint.Total());
    device->set_weights_bytes(use.footprint.weights);
    device->set_cache_bytes(use.footprint.caches);
    device->set_workspace_bytes(use.footprint.workspace);
  }
}

}  // namespace softsplice
