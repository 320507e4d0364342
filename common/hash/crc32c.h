// CRC32C (Castagnoli, the iSCSI polynomial): the checksum of soft tokens on the wire.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace softsplice {

// The checksum of `data`. `seed` is the checksum of the bytes before it, 0 at the start:
// Crc32c(b, Crc32c(a)) == Crc32c(ab).
uint32_t Crc32c(absl::Span<const uint8_t> data, uint32_t seed = 0);
uint32_t Crc32c(absl::string_view data, uint32_t seed = 0);

}  // namespace softsplice
