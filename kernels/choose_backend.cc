// See choose_backend.h.
#include "kernels/choose_backend.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "kernels/devices.h"

namespace softsplice {
namespace {

// Stays free: the driver loads kernels when they are first used, and rounds allocations up.
constexpr uint64_t kSpare = uint64_t{256} << 20;

absl::Status CheckMemory(const Wanted& wanted, const std::vector<DeviceInfo>& devices,
                         const Footprint& need) {
  for (const int device : wanted.devices) {
    ASSIGN_OR_RETURN(const uint64_t free, FreeBytes(device));
    if (need.Total() + kSpare <= free) continue;
    const DeviceInfo& info = devices[static_cast<size_t>(device)];
    return OutOfMemory(absl::StrCat("the model needs ", Describe(need), " and ",
                                    BytesForPeople(kSpare), " to spare; device ", device, " (",
                                    info.name, ") has ", BytesForPeople(free), " free of ",
                                    BytesForPeople(info.total_bytes), ": ", wanted.advice));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Choice> ChooseBackend(const Wanted& wanted) {
  const bool any = wanted.backend.name == "auto";
  if (!any && wanted.backend.name != "cuda") return Choice{wanted.backend.name, "it was asked for"};
  const auto without = [&](const absl::Status& reason) -> absl::StatusOr<Choice> {
    if (!any) return reason;
    return Choice{"cpu", std::string(reason.message())};
  };
  const absl::StatusOr<std::vector<DeviceInfo>> devices = Devices();
  if (!devices.ok()) return without(devices.status());
  RETURN_IF_ERROR(CheckThere(wanted.devices, *devices));
  if (const absl::Status fit = CheckFit(wanted.devices, *devices); !fit.ok()) return without(fit);
  ASSIGN_OR_RETURN(const std::unique_ptr<CountingBackend> counter,
                   MakeDeviceCounter(wanted.backend.exact_weights,
                                     wanted.shared ? static_cast<int>(wanted.devices.size()) : 1,
                                     wanted.backend.large_tables_on_host));
  ASSIGN_OR_RETURN(const Footprint need, wanted.measure(*counter));
  const absl::Status room = CheckMemory(wanted, *devices, need);
  if (!room.ok()) return without(room);
  return Choice{"cuda",
                absl::StrCat(any ? "there is a device, and the model takes "
                                 : "it was asked for; the model takes ",
                             Describe(need)),
                need};
}

}  // namespace softsplice
