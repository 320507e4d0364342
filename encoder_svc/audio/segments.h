// A sound's pieces, each one run of soft tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace softsplice {

struct AudioSegment {
  int first_row = 0;
  int rows = 0;
  absl::Duration start;
  absl::Duration duration;
};

// Cuts so many 16 kHz samples every 30 s. A last piece of 160 samples (10 ms) or fewer, which would
// give no soft token, is left out: the segments' durations say so. INVALID_ARGUMENT: the whole
// sound is as short as that.
absl::StatusOr<std::vector<AudioSegment>> CutIntoSegments(int64_t samples);

// The samples of segment `index` of those that CutIntoSegments gives.
absl::Span<const float> SegmentSamples(absl::Span<const float> sound, size_t index);

}  // namespace softsplice
