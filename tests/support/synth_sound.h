// Test sounds from a small integer formula, the same in any language, so that none is stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace softsplice::testing {

// `samples` samples of sound `k` at 16 kHz: two tones, a rising one and noise, faded in over 100
// ms. All arithmetic is on integers, 32-bit sums wrap, shifts and quotients round down; every value
// is an integer / 32768.
inline std::vector<float> SynthSound(int k, int samples) {
  const auto triangle = [](uint32_t phase) {
    const int p = static_cast<int>(phase >> 16) - 32768;
    return (p < 0 ? -p : p) - 16384;
  };
  const auto seed = static_cast<uint32_t>(k);
  uint32_t low = 0, high = 0, rising = 0, step = 1000000 + 4000 * seed, noise = 12345 + seed;
  std::vector<float> sound;
  for (int i = 1; i <= samples; ++i) {
    low += 29527900 + 700000 * seed;
    high += 118111600;
    step += 450;
    rising += step;
    noise = noise * 1664525 + 1013904223;
    int value = ((triangle(low) * 3) >> 3) + (triangle(high) >> 2) + (triangle(rising) >> 2) +
                ((static_cast<int>(noise >> 20) - 2048) >> 3);
    const int faded = value * std::min(i, 1600);
    value = faded / 1600 - (faded % 1600 < 0 ? 1 : 0);
    sound.push_back(static_cast<float>(value) / 32768);
  }
  return sound;
}

}  // namespace softsplice::testing
