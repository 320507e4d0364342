// Transparency.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encoder_svc/image/picture.h"

namespace softsplice {

// Fills `to` with RGBA pixels, whose rows are `stride` bytes apart, laid over white as Pillow's
// alpha_composite does.
void LayOverWhite(const uint8_t* rgba, size_t stride, Picture& to);

}  // namespace softsplice
