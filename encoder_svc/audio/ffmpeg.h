// MP4, AAC and WebM, read by FFmpeg in a process of its own.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/audio/format.h"
#include "encoder_svc/audio/limits.h"

namespace softsplice {

// Mono 16 kHz samples. INVALID_ARGUMENT: corrupt or truncated, a coding that we don't read, a video
// that may not be left out, or limits.ffmpeg is not there. RESOURCE_EXHAUSTED: longer than allowed,
// told before it is decoded if the file says so; too slow to decode, or memory is short.
absl::StatusOr<std::vector<float>> DecodeWithFfmpeg(absl::string_view bytes, const SoundType& type,
                                                    const SoundLimits& limits);

}  // namespace softsplice
