// Image bytes to upright RGB pixels.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/header.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

// Decodes the first or primary picture of a file as the reference (Pillow under transformers) does:
// transparency is laid over white, the orientation is applied, colour profiles are ignored. 16-bit
// samples keep their high bytes. `header` is what ReadImageHeader gave for `bytes`; no more than
// its decoding_bytes are taken. A header's shrink makes the picture smaller than the header says.
// Any thread.
//
// INVALID_ARGUMENT: the bytes are corrupt behind the header. RESOURCE_EXHAUSTED, or std::bad_alloc:
// memory is short.
absl::StatusOr<Picture> DecodeImage(absl::string_view bytes, const ImageHeader& header);

}  // namespace softsplice
