// See choose_backend.h.
#include "kernels/choose_backend.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "kernels/backend_factory.h"
#include "kernels/devices.h"
#include "kernels/free_memory.h"

namespace softsplice {
namespace {

// Of the host: what a process has before its model, and what the system keeps about it.
constexpr uint64_t kProcessBytes = uint64_t{64} << 20;

absl::Status TooLittle(const Footprint& need, absl::string_view where, uint64_t free,
                       uint64_t total, absl::string_view advice) {
  return OutOfMemory(absl::StrCat(
      "the model needs ", Describe(need), " and ", BytesForPeople(kSpareBytes), " to spare; ",
      where, " has ", BytesForPeople(free), " free of ", BytesForPeople(total), ": ", advice));
}

absl::Status CheckDevices(const Wanted& wanted, const std::vector<DeviceInfo>& devices,
                          const Footprint& need) {
  for (const int device : wanted.devices) {
    ASSIGN_OR_RETURN(uint64_t free, FreeBytes(device));
    const DeviceInfo& info = devices[static_cast<size_t>(device)];
    const uint64_t most = wanted.backend.device_memory;
    const bool capped = most > 0 && most < free;
    if (capped) free = most;
    if (need.Total() + kSpareBytes <= free) continue;
    return TooLittle(need,
                     absl::StrCat("device ", device, " (", info.name,
                                  capped ? ", as far as --device-memory-bytes lets it)" : ")"),
                     free, info.total_bytes, wanted.device_advice);
  }
  return absl::OkStatus();
}

absl::Status CheckHost(const Wanted& wanted, const Footprint& need) {
  const HostMemory host = FreeHostMemory();
  if (need.Total() + kSpareBytes <= host.free_bytes) return absl::OkStatus();
  return TooLittle(need, host.of, host.free_bytes, host.total_bytes, wanted.host_advice);
}

// `backend`, and what it takes.
absl::StatusOr<Choice> Measure(const Wanted& wanted, const std::string& backend) {
  BackendOptions options = wanted.backend;
  options.name = backend;
  const int ranks = wanted.shared ? static_cast<int>(wanted.devices.size()) : 1;
  ASSIGN_OR_RETURN(const std::unique_ptr<CountingBackend> counter, MakeCounter(options, ranks));
  Choice choice{.name = backend};
  counter->Listen([&](uint64_t bytes) { choice.weight_bytes += bytes; });
  ASSIGN_OR_RETURN(choice.footprint, wanted.measure(*counter, backend));
  return choice;
}

absl::StatusOr<Choice> ChooseHost(const Wanted& wanted, const std::string& backend,
                                  absl::string_view why) {
  if (backend == "ref") return Choice{backend, std::string(why)};  // for checks: nobody measures it
  ASSIGN_OR_RETURN(Choice choice, Measure(wanted, backend));
  choice.why = std::string(why);
  RETURN_IF_ERROR(CheckHost(wanted, choice.footprint));
  return choice;
}

}  // namespace

absl::StatusOr<Choice> ChooseBackend(const Wanted& wanted) {
  const bool any = wanted.backend.name == "auto";
  if (!any && wanted.backend.name != "cuda") {
    return ChooseHost(wanted, wanted.backend.name, "it was asked for");
  }
  const auto without = [&](const absl::Status& reason) -> absl::StatusOr<Choice> {
    if (!any) return reason;
    return ChooseHost(wanted, "cpu", reason.message());
  };
  const absl::StatusOr<std::vector<DeviceInfo>> devices = Devices();
  if (!devices.ok()) return without(devices.status());
  RETURN_IF_ERROR(CheckThere(wanted.devices, *devices));
  if (const absl::Status fit = CheckFit(wanted.devices, *devices); !fit.ok()) return without(fit);
  ASSIGN_OR_RETURN(Choice choice, Measure(wanted, "cuda"));
  const absl::Status room = CheckDevices(wanted, *devices, choice.footprint);
  if (!room.ok()) return without(room);
  choice.why = absl::StrCat(
      any ? "there is a device, and the model takes " : "it was asked for; the model takes ",
      Describe(choice.footprint));
  return choice;
}

uint64_t HostBytes(const Footprint& footprint) {
  return footprint.Total() + kSpareBytes + kProcessBytes;
}

}  // namespace softsplice
