// Walks an image file's structure before any pixel is decoded: size, limits, completeness, EXIF.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/format.h"

namespace softsplice {

struct ImageLimits {
  uint64_t max_bytes = 32 << 20;
  uint64_t max_pixels = 100'000'000;
};

// The longest side that is read, whatever max_pixels says.
inline constexpr uint64_t kMaxImageSide = 65535;

struct ImageHeader {
  int width = 0;  // as stored, before EXIF orientation
  int height = 0;
  bool cmyk = false;          // a JPEG with four components
  bool ignore_alpha = false;  // a BMP whose fourth byte means nothing
  std::string exif;           // TIFF block, empty if there is none
};

// Checks all that can be checked without decoding. RESOURCE_EXHAUSTED: larger than a limit (told
// from the first bytes, so also for a file that is cut off). INVALID_ARGUMENT: truncated, corrupt,
// or a variant of the format that we don't read.
absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view bytes, ImageFormat format,
                                            const ImageLimits& limits);

}  // namespace softsplice
