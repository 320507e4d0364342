// Test sounds from a small integer formula, the same in any language, so that none is stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace softsplice::testing {

// `n` samples of sound `k`: two triangle waves, a third one that rises, and noise; every sample is
// an integer / 32768. 32-bit numbers wrap, divisions round down.
inline std::vector<float> SynthSound(int k, int n) {
  const auto triangle = [](uint32_t phase) {
    const int64_t distance = int64_t{phase >> 16} - 32768;
    return (distance < 0 ? -distance : distance) - 16384;
  };
  const auto u = static_cast<uint32_t>(k);
  uint32_t p1 = 0, p2 = 0, p3 = 0, step = 1000000 + 4000 * u, noise = 12345 + u;
  std::vector<float> samples;
  for (int i = 0; i < n; ++i) {
    p1 += 29527900 + 700000 * u;
    p2 += 118111600;
    step += 450;
    p3 += step;
    noise = noise * 1664525 + 1013904223;
    // Shifts of negative numbers round down.
    int64_t value = (triangle(p1) * 3 >> 3) + (triangle(p2) >> 2) + (triangle(p3) >> 2) +
                    ((int64_t{noise >> 20} - 2048) >> 3);
    value *= std::min(i + 1, 1600);
    value = value >= 0 ? value / 1600 : -((-value + 1599) / 1600);
    samples.push_back(static_cast<float>(value) / 32768);
  }
  return samples;
}

}  // namespace softsplice::testing
