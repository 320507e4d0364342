// Test pictures from a small integer formula, the same in any language, so that none is stored.
#pragma once

#include <algorithm>
#include <cstdint>

#include "encoder_svc/image/picture.h"

namespace softsplice::testing {

// Picture `k`: colour ramps, a chequered blue channel, an inverted disc and noise. All arithmetic
// is on integers, 32-bit products wrap.
inline Picture SynthPicture(int k, int width, int height) {
  Picture picture(width, height);
  const int64_t shorter = std::min(width, height);
  for (int y = 0; y < height; ++y) {
    uint8_t* out = picture.Row(y);
    for (int x = 0; x < width; ++x) {
      const int64_t dx = 2 * x - width, dy = 2 * y - height;
      const bool inside = 9 * (dx * dx + dy * dy) < 4 * shorter * shorter;
      const int bases[] = {static_cast<int>(int64_t{x} * 200 / width),
                           static_cast<int>(int64_t{y} * 200 / height),
                           ((x / 11 + y / 7 + k) & 1) != 0 ? 200 : 30};
      for (uint32_t c = 0; c < 3; ++c) {
        const int base = inside ? 220 - bases[c] : bases[c];
        const uint32_t u = (static_cast<uint32_t>(x) * 73856093u) ^
                           (static_cast<uint32_t>(y) * 19349663u) ^ (c * 83492791u) ^
                           (static_cast<uint32_t>(k) * 2654435761u);
        const int noise = static_cast<int>(u * 2246822519u >> 27);
        *out++ = static_cast<uint8_t>(std::min(255, base + noise));
      }
    }
  }
  return picture;
}

}  // namespace softsplice::testing
