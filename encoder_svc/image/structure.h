// What the readers of files' structures have in common: numbers at places, sizes and errors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/header.h"

namespace softsplice {

// Numbers at an offset; the caller has checked that they lie inside.
inline uint32_t Byte(absl::string_view b, size_t at) { return static_cast<uint8_t>(b[at]); }
inline uint32_t Be16(absl::string_view b, size_t at) { return Byte(b, at) << 8 | Byte(b, at + 1); }
inline uint32_t Be32(absl::string_view b, size_t at) { return Be16(b, at) << 16 | Be16(b, at + 2); }
inline uint32_t Le16(absl::string_view b, size_t at) { return Byte(b, at + 1) << 8 | Byte(b, at); }
inline uint32_t Le32(absl::string_view b, size_t at) { return Le16(b, at + 2) << 16 | Le16(b, at); }

// INVALID_ARGUMENT: "the PNG is truncated", "the PNG can't be read: <what>".
absl::Status Truncated(ImageFormat format);
absl::Status Corrupt(ImageFormat format, absl::string_view what);

// Notes the size in `header` if it is within the limits. INVALID_ARGUMENT: no pixels.
// RESOURCE_EXHAUSTED: too many, or a side that is too long.
absl::Status SetSize(ImageHeader& header, int64_t width, int64_t height, const ImageLimits& limits);

// How many pixels are decoded.
uint64_t Pixels(const ImageHeader& header);

}  // namespace softsplice
