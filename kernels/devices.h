// The devices that the backend "cuda" runs on, and their memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace softsplice {

struct DeviceInfo {
  std::string name;
  uint64_t total_bytes = 0;
  std::string unfit;  // why the backend can't run on it; empty where it can
};

// Those that the process sees, by index; at least one. INVALID_ARGUMENT says why there are none: no
// driver, no device, or a program that was built without CUDA. Cheap: touches no device.
absl::StatusOr<std::vector<DeviceInfo>> Devices();

// INVALID_ARGUMENT, naming those that there are: one of `wanted` is not among them.
absl::Status CheckThere(absl::Span<const int> wanted, absl::Span<const DeviceInfo> devices);
// FAILED_PRECONDITION (UNFIT_DEVICE): the backend can't run on one of `wanted`, which are there.
absl::Status CheckFit(absl::Span<const int> wanted, absl::Span<const DeviceInfo> devices);

// Bytes of a device's memory that nobody has now. The first call in a process makes the device
// ready for it, which takes some of them.
absl::StatusOr<uint64_t> FreeBytes(int device);

}  // namespace softsplice
