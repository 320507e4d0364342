// MP3, read from memory by libmpg123.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/audio/limits.h"

namespace softsplice {

// Mono 16 kHz samples, without the encoder's padding where the file tells it. A stream may begin in
// the middle of a frame, and go from mono to stereo. INVALID_ARGUMENT: no frame that can be
// decoded, fewer than the file says, or a rate that changes on the way. RESOURCE_EXHAUSTED: longer
// than allowed, or memory is short.
absl::StatusOr<std::vector<float>> DecodeMp3(absl::string_view bytes, const SoundLimits& limits);

}  // namespace softsplice
