// An image file's structure, before any pixel is decoded: format, size, limits, completeness,
// orientation, and what decoding will take.
#pragma once

#include <cstdint>

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
  ImageFormat format = ImageFormat::kPng;
  int width = 0;  // as stored, before the orientation
  int height = 0;
  int shrink = 1;               // decoded at 1/2, 1/4 or 1/8: a JPEG of more pixels than the limit
  int orientation = 1;          // 1 to 8 as in EXIF
  bool cmyk = false;            // a JPEG with four components
  uint64_t decoder_bytes = 0;   // what the format's decoder takes at most beside the picture
  uint64_t decoding_bytes = 0;  // what DecodeImage takes at most

  // Of the whole picture after the orientation.
  int UprightWidth() const { return orientation >= 5 ? height : width; }
  int UprightHeight() const { return orientation >= 5 ? width : height; }
  // Of what is decoded before it.
  int DecodedWidth() const { return (width + shrink - 1) / shrink; }
  int DecodedHeight() const { return (height + shrink - 1) / shrink; }
};

// Checks all that can be checked without decoding: what it takes may still turn out to be corrupt.
// `mime_type` may be empty. RESOURCE_EXHAUSTED: larger than a limit (told from the first bytes, so
// also for a file that is cut off). INVALID_ARGUMENT: empty, truncated, corrupt, or a format or
// variant that we don't read, or a mime type of another format than the bytes are in. Some
// milliseconds for the largest files. Any thread.
absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view bytes, absl::string_view mime_type,
                                            const ImageLimits& limits);

}  // namespace softsplice
