// See mpeg.h.
#include "common/media/mpeg.h"

#include <algorithm>
#include <cstdint>

namespace softsplice {
namespace {

// Some of the longest frames, of 1,441 bytes.
constexpr size_t kSearched = 16384;

// ISO/IEC 11172-3 and 13818-3, layer III: kbit/s by index, of version 1 and of the others.
constexpr size_t kBitRates[2][15] = {
    {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
    {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}};
constexpr size_t kRates[3] = {44100, 48000, 32000};  // of version 1
constexpr int kVersion1 = 3, kVersion2 = 2, kLayer3 = 1;

struct Header {
  int version, layer, bit_rate, rate, padding;  // as coded

  explicit Header(absl::string_view bytes) {
    const auto second = static_cast<uint8_t>(bytes[1]), third = static_cast<uint8_t>(bytes[2]);
    version = second >> 3 & 3;
    layer = second >> 1 & 3;
    bit_rate = third >> 4;
    rate = third >> 2 & 3;
    padding = third >> 1 & 1;
  }
};

// The length of an MP3 frame; 0: it is none, or does not tell.
size_t Mp3FrameBytes(absl::string_view bytes) {
  if (!IsMpegFrame(bytes)) return 0;
  const Header header(bytes);
  const bool first = header.version == kVersion1;
  const size_t bit_rate = kBitRates[first ? 0 : 1][header.bit_rate];
  if (header.layer != kLayer3 || bit_rate == 0) return 0;
  const size_t rate = kRates[header.rate] / (first ? 1 : header.version == kVersion2 ? 2 : 4);
  return (first ? 144'000 : 72'000) * bit_rate / rate + static_cast<size_t>(header.padding);
}

}  // namespace

bool IsMpegFrame(absl::string_view bytes) {
  if (bytes.size() < 4) return false;
  const Header header(bytes);
  return bytes[0] == '\xff' && (bytes[1] & 0xE0) == 0xE0 && header.version != 1 &&
         header.layer != 0 && header.bit_rate != 15 && header.rate != 3;
}

size_t FindMp3Frames(absl::string_view bytes) {
  const size_t end = std::min(bytes.size(), kSearched);
  for (size_t at = bytes.find('\xff'); at < end; at = bytes.find('\xff', at + 1)) {
    size_t next = at;
    int frames = 0;
    while (frames < 3 && next < bytes.size()) {
      const size_t length = Mp3FrameBytes(bytes.substr(next));
      if (length == 0) break;
      next += length;
      ++frames;
    }
    if (frames == 3) return at;
  }
  return absl::string_view::npos;
}

}  // namespace softsplice
