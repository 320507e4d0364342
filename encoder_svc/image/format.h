// Which image format some bytes are, by their first bytes, and whether a stated mime type agrees.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace softsplice {

enum class ImageFormat { kPng, kJpeg, kBmp, kGif };

absl::string_view Name(ImageFormat format);  // "PNG"

// The format of `bytes`. `mime_type` may be empty (then only the bytes count), in any case and with
// parameters. INVALID_ARGUMENT: no bytes, a format we don't read, or a type that contradicts the
// bytes.
absl::StatusOr<ImageFormat> FindImageFormat(absl::string_view bytes, absl::string_view mime_type);

}  // namespace softsplice
