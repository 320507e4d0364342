// Sound bytes to samples.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace softsplice {

struct SoundLimits {
  uint64_t max_bytes = 32 << 20;
  absl::Duration max_duration = absl::Minutes(10);
};

// Decodes WAV, FLAC, OGG (Vorbis, Opus), MP3 or raw PCM (see FindSoundType) to mono 16 kHz
// samples, all finite; the channels are averaged. `mime_type` may be empty. Any thread.
//
// INVALID_ARGUMENT: empty, truncated, corrupt or unsupported bytes, samples that are not numbers,
// or a mime type that is not supported or contradicts the bytes. Where a format does not tell where
// it ends (OGG, MP3 without a Xing header, WAV from a pipe), what is there is the sound.
// RESOURCE_EXHAUSTED: over a limit; told before anything is decoded if the file says so, and while
// it is decoded if it lies.
absl::StatusOr<std::vector<float>> DecodeSound(absl::string_view bytes, absl::string_view mime_type,
                                               const SoundLimits& limits);

}  // namespace softsplice
