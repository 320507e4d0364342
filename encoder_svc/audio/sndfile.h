// WAV and FLAC, read from memory by libsndfile.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/media/memory_file.h"
#include "encoder_svc/audio/format.h"
#include "encoder_svc/audio/limits.h"

namespace softsplice {

// How many mono 16 kHz samples a file has as its header tells; nothing where it does not (FLAC of a
// pipe). `format` is what the bytes look like, one of the two. INVALID_ARGUMENT: truncated,
// corrupt, or a variant that we don't read. RESOURCE_EXHAUSTED: longer than allowed, or memory is
// short.
absl::StatusOr<std::optional<int64_t>> LengthWithSndfile(MemoryFile file, SoundFormat format,
                                                         const SoundLimits& limits);

// Those samples. The same errors.
absl::StatusOr<std::vector<float>> DecodeWithSndfile(MemoryFile file, SoundFormat format,
                                                     const SoundLimits& limits);

}  // namespace softsplice
