// See alpha.h.
#include "encoder_svc/image/alpha.h"

namespace softsplice {
namespace {

// AlphaComposite.c onto opaque white: 7 bits of extra precision.
uint8_t OverWhite(uint32_t value, uint32_t alpha) {
  const uint32_t t = 128 * (value * alpha + 255 * (255 - alpha)) + (128 << 7);
  return static_cast<uint8_t>((((t >> 8) + t) >> 8) >> 7);
}

}  // namespace

void LayOverWhite(const uint8_t* rgba, size_t stride, Picture& to) {
  for (int y = 0; y < to.height; ++y, rgba += stride) {
    uint8_t* out = to.Row(y);
    const uint8_t* from = rgba;
    for (int x = 0; x < to.width; ++x, from += 4) {
      for (size_t c = 0; c < 3; ++c) *out++ = OverWhite(from[c], from[3]);
    }
  }
}

}  // namespace softsplice
