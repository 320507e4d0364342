// Image bytes to upright RGB pixels.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/header.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

// Decodes a PNG, JPEG, BMP or GIF (the first frame) as the reference (Pillow under transformers)
// does: transparency is laid over white, EXIF orientation is applied, colour profiles are ignored.
// 16-bit samples keep their high bytes. `header` is what ReadImageHeader gave for `bytes`; no more
// than its decoding_bytes are taken. Any thread.
//
// INVALID_ARGUMENT: the bytes are corrupt behind the header. RESOURCE_EXHAUSTED: memory is short.
absl::StatusOr<Picture> DecodeImage(absl::string_view bytes, const ImageHeader& header);

}  // namespace softsplice
