// PNGs of any size in a few bytes: all samples are 0.
#pragma once

#include <isa-l/crc.h>

#include <cstdint>
#include <string>

namespace softsplice::testing {

inline std::string BigEndian32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

// Deflates runs of zero bytes.
class ZeroDeflater {
 public:
  // A zlib stream of `count` zeroes.
  static std::string Deflate(uint64_t count) {
    const std::string checksum = BigEndian32(static_cast<uint32_t>(count % 65521) << 16 | 1);
    ZeroDeflater out;
    out.Bits(0b011, 3);  // the last block, fixed codes
    out.Code(0b00110000, 8);
    for (--count; count >= kRun; count -= kRun) {
      out.Code(0b11000101, 8);  // 258 bytes
      out.Code(0, 5);           // as one byte back
    }
    for (; count > 0; --count) out.Code(0b00110000, 8);
    out.Code(0, 7);
    out.Bits(0, 7);  // to a whole byte
    return "\x78\x01" + out.bytes_ + checksum;
  }

 private:
  static constexpr uint64_t kRun = 258;

  void Bits(uint32_t bits, int count) {
    for (int i = 0; i < count; ++i) {
      byte_ |= (bits >> i & 1) << used_;
      if (++used_ < 8) continue;
      bytes_.push_back(static_cast<char>(byte_));
      byte_ = 0;
      used_ = 0;
    }
  }
  // Codes come with their highest bit first.
  void Code(uint32_t code, int count) {
    for (int i = count; i-- > 0;) Bits(code >> i & 1, 1);
  }

  std::string bytes_;
  uint32_t byte_ = 0;
  int used_ = 0;
};

inline std::string PngChunk(const std::string& type, const std::string& data) {
  const std::string covered = type + data;
  const uint32_t crc =
      crc32_gzip_refl(0, reinterpret_cast<const unsigned char*>(covered.data()), covered.size());
  return BigEndian32(static_cast<uint32_t>(data.size())) + covered + BigEndian32(crc);
}

// `color`: 0 grey, 2 RGB, 6 RGBA. Its data inflate to `times` as much as it needs.
inline std::string BlackPng(uint32_t width, uint32_t height, int depth = 8, int color = 0,
                            uint64_t times = 1) {
  const uint64_t channels = color == 0 ? 1 : color == 2 ? 3 : 4;
  const uint64_t row = (width * channels * static_cast<uint64_t>(depth) + 7) / 8 + 1;
  return "\x89PNG\r\n\x1a\n" +
         PngChunk("IHDR", BigEndian32(width) + BigEndian32(height) +
                              std::string{static_cast<char>(depth), static_cast<char>(color)} +
                              std::string(3, '\0')) +
         PngChunk("IDAT", ZeroDeflater::Deflate(times * row * height)) + PngChunk("IEND", "");
}

}  // namespace softsplice::testing
