// OGG with Vorbis or Opus inside, read from memory by libvorbisfile and libopusfile.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/audio/limits.h"

namespace softsplice {

// Mono 16 kHz samples; streams one after another (chained) are one sound. INVALID_ARGUMENT:
// corrupt, pages of the sound that are missing, another codec, or a rate that changes on the way.
// RESOURCE_EXHAUSTED: longer than allowed, or memory is short.
absl::StatusOr<std::vector<float>> DecodeOgg(absl::string_view bytes, const SoundLimits& limits);

}  // namespace softsplice
