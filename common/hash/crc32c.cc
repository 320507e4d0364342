#include "common/hash/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstddef>

namespace softsplice {

uint32_t Crc32c(absl::Span<const uint8_t> data, uint32_t seed) {
  // The library takes an int and leaves both inversions to the caller.
  constexpr size_t kMost = size_t{1} << 30;
  uint32_t state = ~seed;
  while (!data.empty()) {
    const auto part = data.first(std::min(data.size(), kMost));
    // It does not write; its parameter just isn't const.
    state = crc32_iscsi(const_cast<uint8_t*>(part.data()), static_cast<int>(part.size()), state);
    data.remove_prefix(part.size());
  }
  return ~state;
}

uint32_t Crc32c(absl::string_view data, uint32_t seed) {
  return Crc32c({reinterpret_cast<const uint8_t*>(data.data()), data.size()}, seed);
}

}  // namespace softsplice
