// Any bytes as a picture: decoded or refused, then resized as the encoder does.
//
//   image_fuzz CORPUS tests/data/image
#include <isa-l/crc.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "encoder_svc/image/decode.h"
#include "encoder_svc/image/resize.h"

namespace softsplice {
namespace {

// Makes the checksums of a PNG's chunks right, so that changed bytes get past them.
void FixPngChecksums(std::string& png) {
  auto* bytes = reinterpret_cast<uint8_t*>(png.data());
  for (size_t at = 8; at + 12 <= png.size();) {
    const size_t length = uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 |
                          uint32_t{bytes[at + 2]} << 8 | uint32_t{bytes[at + 3]};
    if (length > png.size() - at - 12) return;
    const uint32_t crc = crc32_gzip_refl(0, bytes + at + 4, length + 4);
    for (size_t i = 0; i < 4; ++i) {
      bytes[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    }
    at += 12 + length;
  }
}

void DecodeAndResize(const std::string& bytes) {
  // Small, so that a run spends its time on the formats and not on pixels.
  const auto header = ReadImageHeader(bytes, "", {.max_bytes = 1 << 20, .max_pixels = 1 << 18});
  if (!header.ok()) return;
  const auto picture = DecodeImage(bytes, *header);
  if (!picture.ok()) return;
  const bool turned = header->orientation >= 5;
  const int width = header->DecodedWidth(), height = header->DecodedHeight();
  if (picture->width != (turned ? height : width)) std::abort();
  if (picture->height != (turned ? width : height)) std::abort();
  const auto size = TargetSize(picture->width, picture->height, 70, 16, 3);
  if (!size.ok()) std::abort();
  const Picture resized = ResizeBicubic(*picture, *size);
  if (resized.rgb.size() != static_cast<size_t>(size->width) * size->height * 3) std::abort();
}

}  // namespace
}  // namespace softsplice

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size > 8 && bytes[0] == '\x89') softsplice::FixPngChecksums(bytes);
  softsplice::DecodeAndResize(bytes);
  return 0;
}
