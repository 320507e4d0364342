// Decoded pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace softsplice {

// 8-bit RGB, rows from the top, pixels from the left, no padding.
struct Picture {
  Picture() = default;
  Picture(int w, int h)
      : width(w), height(h), rgb(Stride() * static_cast<size_t>(h)), right(w), bottom(h) {}

  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;
  // Where in it the file's picture is: one that was decoded at a fraction may end inside of a
  // pixel.
  double left = 0;
  double top = 0;
  double right = 0;
  double bottom = 0;

  size_t Stride() const { return static_cast<size_t>(width) * 3; }
  uint8_t* Row(int y) { return rgb.data() + static_cast<size_t>(y) * Stride(); }
  const uint8_t* Row(int y) const { return rgb.data() + static_cast<size_t>(y) * Stride(); }
};

}  // namespace softsplice
