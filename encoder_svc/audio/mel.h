// Log-mel frames of a sound, frame for frame as transformers' Gemma4AudioFeatureExtractor makes
// them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace softsplice {

constexpr int kSampleRate = 16000;
constexpr int kMelBins = 128;
constexpr int kMelHop = 160;             // samples: 10 ms
constexpr int kSegmentSamples = 480000;  // 30 s: the longest run of soft tokens

enum class MelFloor : uint8_t {
  kAdd,  // ln(mel + 0.001): the official one
  kMax,  // ln(max(mel, 0.001)): llama.cpp's, for cross-checks
};

// How many frames a sound has whose windows hold real samples only; none for 160 samples or fewer.
int MelFrameCount(int64_t samples);

// Soft tokens of so many frames: two halvings, rounded up.
int SoundTokenCount(int frames);

struct MelFrames {
  int frames = 0;
  std::vector<float> values;  // [frames, kMelBins]
};

// The frames of mono 16 kHz samples, all finite, which gives finite values. 160 zeros stand in
// front; frame i is the 320 samples from 160 i on, windowed (periodic Hann), a 512-point FFT,
// magnitudes, 128 HTK mel triangles over 0..8000 Hz, the natural logarithm. Any thread.
MelFrames LogMel(absl::Span<const float> samples, MelFloor floor);

}  // namespace softsplice
