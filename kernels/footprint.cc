// See footprint.h.
#include "kernels/footprint.h"

#include "absl/strings/str_cat.h"
#include "common/text/bytes.h"

namespace softsplice {

std::vector<DeviceUse> UseOf(absl::Span<const int> devices, const Footprint& footprint) {
  std::vector<DeviceUse> uses;
  const absl::StatusOr<std::vector<DeviceInfo>> all = Devices();
  for (const int index : devices) {
    const bool there = all.ok() && static_cast<size_t>(index) < all->size();
    uses.push_back({.index = index,
                    .device = there ? (*all)[static_cast<size_t>(index)] : DeviceInfo(),
                    .free_bytes = there ? FreeBytes(index).value_or(0) : 0,
                    .footprint = footprint});
  }
  return uses;
}

std::string Describe(const Footprint& footprint) {
  return absl::StrCat(
      BytesForPeople(footprint.Total()), " (weights ", BytesForPeople(footprint.weights),
      footprint.caches == 0 ? ""
                            : absl::StrCat(", keys and values ", BytesForPeople(footprint.caches)),
      ", workspace ", BytesForPeople(footprint.workspace), ")");
}

}  // namespace softsplice
