// Image bytes to upright RGB pixels.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/header.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

// Decodes PNG, JPEG, BMP or GIF (the first frame) as the reference (Pillow under transformers)
// does: transparency is laid over white, EXIF orientation is applied, colour profiles are ignored.
// 16-bit samples keep their high bytes. `mime_type` may be empty. Any thread.
//
// INVALID_ARGUMENT: empty, truncated, corrupt or unsupported bytes, or a mime type that is not
// supported or contradicts them. RESOURCE_EXHAUSTED: over a limit; told before anything is decoded.
absl::StatusOr<Picture> DecodeImage(absl::string_view bytes, absl::string_view mime_type,
                                    const ImageLimits& limits);

}  // namespace softsplice
