// WAV and FLAC, read from memory by libsndfile.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "encoder_svc/audio/format.h"

namespace softsplice {

// Mono 16 kHz samples. `format` is what `bytes` look like, one of the two. INVALID_ARGUMENT:
// truncated, corrupt, or a variant that we don't read. RESOURCE_EXHAUSTED: longer than allowed,
// told before anything is decoded where the file says how long it is.
absl::StatusOr<std::vector<float>> DecodeWithSndfile(absl::string_view bytes, SoundFormat format,
                                                     absl::Duration max_duration);

}  // namespace softsplice
