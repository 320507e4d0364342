// Sound bytes to samples.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/audio/format.h"
#include "encoder_svc/audio/limits.h"

namespace softsplice {

struct SoundHeader {
  SoundType type;
  // Mono 16 kHz samples, where the header tells it: WAV, FLAC, raw PCM. The others must be decoded.
  std::optional<int64_t> samples;
};

// Finds out what can be known without decoding: what it takes may still turn out to be corrupt.
// `mime_type` may be empty. INVALID_ARGUMENT: empty, truncated or unsupported bytes, or a mime type
// that is not supported or contradicts them. RESOURCE_EXHAUSTED: over a limit, or memory is short.
// Any thread.
absl::StatusOr<SoundHeader> ReadSoundHeader(absl::string_view bytes, absl::string_view mime_type,
                                            const SoundLimits& limits);

// Decodes WAV, FLAC, OGG (Vorbis, Opus), MP3, M4A, AAC, WebM or raw PCM to mono 16 kHz samples, all
// finite; the channels are averaged. `type` is what ReadSoundHeader found. Any thread.
//
// INVALID_ARGUMENT: truncated, corrupt or unsupported bytes, samples that are not numbers. Where a
// format does not tell where it ends (OGG, MP3 without a Xing header, AAC, WAV from a pipe), what
// is there is the sound. RESOURCE_EXHAUSTED: over a limit, told before anything is decoded if the
// file says so, and while it is decoded if it lies; or memory is short. What limits.go_on says, at
// most a block of samples later.
absl::StatusOr<std::vector<float>> DecodeSound(absl::string_view bytes, const SoundType& type,
                                               const SoundLimits& limits);

}  // namespace softsplice
