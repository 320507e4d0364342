// Checks of devices; what there is, each build finds out for itself (cuda/devices.cc).
#include "kernels/devices.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {

absl::Status CheckThere(absl::Span<const int> wanted, absl::Span<const DeviceInfo> devices) {
  for (const int device : wanted) {
    if (device >= 0 && static_cast<size_t>(device) < devices.size()) continue;
    int index = 0;
    return InvalidField(
        "device",
        absl::StrCat("there is no device ", device, "; there are ",
                     absl::StrJoin(devices, ", ", [&](std::string* out, const DeviceInfo& info) {
                       absl::StrAppend(out, index++, " (", info.name, ")");
                     })));
  }
  return absl::OkStatus();
}

absl::Status CheckFit(absl::Span<const int> wanted, absl::Span<const DeviceInfo> devices) {
  for (const int device : wanted) {
    const DeviceInfo& info = devices[static_cast<size_t>(device)];
    if (info.unfit.empty()) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("device ", device, " (", info.name, ") ", info.unfit),
                     {.reason = reason::kUnfitDevice});
  }
  return absl::OkStatus();
}

}  // namespace softsplice
