// What a sound may be, and take.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace softsplice {

// Samples of all channels that a second of sound may have on average: 8 channels at 48 kHz, or
// stereo at 192 kHz. More is slow to decode and no recording of speech or music.
inline constexpr int64_t kMaxSamplesPerSecond = 384'000;

struct SoundLimits {
  uint64_t max_bytes = 32 << 20;
  // The whole sound has at most so many seconds, and kMaxSamplesPerSecond times as many samples.
  absl::Duration max_duration = absl::Minutes(10);
  // The path of softsplice-ffmpeg, which reads MP4, AAC and WebM; empty: nothing does.
  std::string ffmpeg;
  // Asked before each block of samples: its error ends the decoding.
  std::function<absl::Status()> go_on = [] { return absl::OkStatus(); };
};

}  // namespace softsplice
