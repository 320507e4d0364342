// Quantised rows of GGUF taken apart, 32 weights at a time: what packers need to know of a type.
// Weight i is d * scale[i / 16] * (code[i] - offset) - dmin * min[i / 16], the products in that
// order.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/gguf/half.h"
#include "common/gguf/types.h"

namespace softsplice {

inline constexpr int kQuantBlock = 32;

struct QuantBlock {
  uint8_t code[kQuantBlock];  // IQ4's and Q8_0's: signed
  float d, dmin;
  int scale[2], min[2];
};

// What is subtracted from a type's codes.
constexpr int QuantOffset(gguf::Type type) {
  switch (type) {
    case gguf::Type::kQ4_0:
      return 8;
    case gguf::Type::kQ5_0:
      return 16;
    case gguf::Type::kQ3_K:
      return 4;
    case gguf::Type::kQ6_K:
      return 32;
    default:
      return 0;
  }
}

namespace quant {

inline int Load16(const uint8_t* p) { return p[0] | p[1] << 8; }
inline float LoadHalf(const uint8_t* p) { return HalfToFloat(static_cast<uint16_t>(Load16(p))); }

// 16 bytes; the low halves are the first 16 codes.
inline void Nibbles(const uint8_t* p, uint8_t* code) {
  for (int i = 0; i < 16; ++i) {
    code[i] = p[i] & 15;
    code[i + 16] = p[i] >> 4;
  }
}

// A plane of bits that several blocks share byte by byte: `bits` of each of 32 bytes from `shift`
// on, put at `to`.
inline void Plane(const uint8_t* p, int shift, int bits, int to, uint8_t* code) {
  const int mask = (1 << bits) - 1;
  for (int i = 0; i < kQuantBlock; ++i) {
    code[i] = static_cast<uint8_t>(code[i] | (p[i] >> shift & mask) << to);
  }
}

// 32 fifth bits.
inline void FifthBits(const uint8_t* p, uint8_t* code) {
  for (int i = 0; i < kQuantBlock; ++i) {
    code[i] = static_cast<uint8_t>(code[i] | (p[i / 8] >> i % 8 & 1) << 4);
  }
}

inline void IQ4Values(uint8_t* code) {
  constexpr int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  for (int i = 0; i < kQuantBlock; ++i) code[i] = static_cast<uint8_t>(kValues[code[i]]);
}

inline void SetScale(QuantBlock* to, float d, int scale) {
  to->d = d;
  to->scale[0] = to->scale[1] = scale;
}
inline void SetMin(QuantBlock* to, float dmin, int min) {
  to->dmin = dmin;
  to->min[0] = to->min[1] = min;
}

// The 6-bit scale and minimum of one block that Q4_K and Q5_K pack into 12 bytes after d and dmin.
inline void SixBitScales(const uint8_t* p, int block, QuantBlock* to) {
  const uint8_t* packed = p + 4;
  const int i = block % 4;
  if (block < 4) {
    SetScale(to, LoadHalf(p), packed[i] & 63);
    SetMin(to, LoadHalf(p + 2), packed[4 + i] & 63);
  } else {
    SetScale(to, LoadHalf(p), (packed[8 + i] & 15) | (packed[i] >> 2 & 48));
    SetMin(to, LoadHalf(p + 2), packed[8 + i] >> 4 | (packed[4 + i] >> 2 & 48));
  }
}

}  // namespace quant
}  // namespace softsplice
