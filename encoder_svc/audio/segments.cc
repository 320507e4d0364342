// See segments.h.
#include "encoder_svc/audio/segments.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "encoder_svc/audio/mel.h"

namespace softsplice {
namespace {

absl::Duration LengthOf(int64_t samples) {
  return absl::Nanoseconds(samples * (1'000'000'000 / kSampleRate));
}

}  // namespace

absl::StatusOr<std::vector<AudioSegment>> CutIntoSegments(int64_t samples) {
  std::vector<AudioSegment> segments;
  int first_row = 0;
  for (int64_t at = 0; at < samples; at += kSegmentSamples) {
    const int64_t length = std::min<int64_t>(samples - at, kSegmentSamples);
    const int rows = SoundTokenCount(MelFrameCount(length));
    if (rows == 0) break;
    segments.push_back({first_row, rows, LengthOf(at), LengthOf(length)});
    first_row += rows;
  }
  if (segments.empty()) {
    return InvalidMedia(absl::StrCat("the sound is too short: ", samples, " samples at 16 kHz; ",
                                     kMelHop + 1, " (over 10 ms) are the least"));
  }
  return segments;
}

absl::Span<const float> SegmentSamples(absl::Span<const float> sound, size_t index) {
  return sound.subspan(index * kSegmentSamples, kSegmentSamples);
}

}  // namespace softsplice
