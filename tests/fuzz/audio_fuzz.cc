// Any bytes as a sound: decoded or refused, then cut and made into mel frames as the encoder does.
// A mime type may stand in front, as a line.
//
//   audio_fuzz CORPUS tests/data/audio
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "encoder_svc/audio/decode.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/audio/segments.h"

namespace softsplice {
namespace {

void Listen(absl::string_view bytes, absl::string_view mime_type) {
  // Short, so that a run spends its time on the formats and not on samples.
  const SoundLimits limits{.max_bytes = 1 << 20, .max_duration = absl::Seconds(2)};
  const auto header = ReadSoundHeader(bytes, mime_type, limits);
  if (!header.ok()) {
    if (header.status().code() == absl::StatusCode::kInternal) std::abort();
    return;
  }
  const auto sound = DecodeSound(bytes, header->type, limits);
  if (!sound.ok()) {
    if (sound.status().code() == absl::StatusCode::kInternal) std::abort();
    return;
  }
  if (sound->size() > 2 * kSampleRate + 1) std::abort();
  if (header->samples && *header->samples != static_cast<int64_t>(sound->size())) std::abort();
  const auto segments = CutIntoSegments(static_cast<int64_t>(sound->size()));
  if (!segments.ok()) return;
  const MelFrames mel = LogMel(SegmentSamples(*sound, 0), MelFloor::kAdd);
  if (SoundTokenCount(mel.frames) != segments->front().rows) std::abort();
  if (!std::all_of(mel.values.begin(), mel.values.end(), [](float x) { return std::isfinite(x); }))
    std::abort();
}

}  // namespace
}  // namespace softsplice

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  softsplice::Listen(bytes, "");
  const size_t end = bytes.find('\n');
  if (end != absl::string_view::npos && bytes.substr(0, 6) == "audio/") {
    softsplice::Listen(bytes.substr(end + 1), bytes.substr(0, end));
  }
  return 0;
}
