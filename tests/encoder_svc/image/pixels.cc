// Decodes the pictures that it gets on its standard input, each behind its length, and answers each
// on its standard output: width, height, RGB; or 0, 0, the length of a message, and that. Numbers
// are 4 bytes, little-endian.
//
//   image_pixels [MAX_PIXELS [WIDTH HEIGHT]]     the latter: resized to that
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include "encoder_svc/image/decode.h"
#include "encoder_svc/image/resize.h"

namespace softsplice {
namespace {

void Put(int value) {
  const auto number = static_cast<uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) std::cout.put(static_cast<char>(number >> shift));
}

bool Take(std::string& bytes) {
  char size[4];
  if (!std::cin.read(size, sizeof(size))) return false;
  uint32_t number = 0;
  for (int i = 3; i >= 0; --i) number = number << 8 | static_cast<uint8_t>(size[i]);
  bytes.resize(number);
  return static_cast<bool>(std::cin.read(bytes.data(), number));
}

absl::StatusOr<Picture> Decode(const std::string& bytes, const ImageLimits& limits,
                               PictureSize size) {
  const auto header = ReadImageHeader(bytes, "", limits);
  if (!header.ok()) return header.status();
  absl::StatusOr<Picture> picture = DecodeImage(bytes, *header);
  if (picture.ok() && size.width != 0) picture = ResizeBicubic(*picture, size);
  return picture;
}

void Answer(const absl::StatusOr<Picture>& picture) {
  Put(picture.ok() ? picture->width : 0);
  Put(picture.ok() ? picture->height : 0);
  if (picture.ok()) {
    std::cout.write(reinterpret_cast<const char*>(picture->rgb.data()),
                    static_cast<std::streamsize>(picture->rgb.size()));
  } else {
    Put(static_cast<int>(picture.status().message().size()));
    std::cout << picture.status().message();
  }
  std::cout.flush();
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  softsplice::ImageLimits limits;
  if (argc > 1) limits.max_pixels = std::strtoull(argv[1], nullptr, 10);
  softsplice::PictureSize size;
  if (argc > 3) size = {std::atoi(argv[2]), std::atoi(argv[3])};
  for (std::string bytes; softsplice::Take(bytes);) {
    softsplice::Answer(softsplice::Decode(bytes, limits, size));
  }
}
