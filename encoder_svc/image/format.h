// Which image format some bytes are, by their first bytes, and whether a stated mime type agrees.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace softsplice {

enum class ImageFormat { kPng, kJpeg, kBmp, kGif, kWebp, kHeic, kAvif };

absl::string_view Name(ImageFormat format);  // "PNG"

// The format of `bytes`. They decide; `mime_type`, which may be empty, in any case and with
// parameters, says nothing unless it is another known format's. INVALID_ARGUMENT: no bytes, a
// format that we don't read, or such a type.
absl::StatusOr<ImageFormat> FindImageFormat(absl::string_view bytes, absl::string_view mime_type);

}  // namespace softsplice
