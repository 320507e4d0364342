// Parts that several quantised types of GGUF have in common: each fills its share of a block that
// is zero before.
#pragma once

#include <cstdint>

#include "common/gguf/half.h"
#include "kernels/quant_blocks.h"

namespace softsplice::quant {

inline int Load16(const uint8_t* p) { return p[0] | p[1] << 8; }
inline float LoadHalf(const uint8_t* p) { return HalfToFloat(static_cast<uint16_t>(Load16(p))); }

inline void SetScale(QuantBlock* to, float d, int scale) {
  to->d = d;
  to->scale[0] = to->scale[1] = scale;
}
inline void SetMin(QuantBlock* to, float dmin, int min) {
  to->dmin = dmin;
  to->min[0] = to->min[1] = min;
}

// 16 bytes; the low halves are the first 16 codes.
inline void Nibbles(const uint8_t* p, QuantBlock* to) {
  for (int i = 0; i < kBlock / 2; ++i) {
    to->code[i] = static_cast<int8_t>(p[i] & 15);
    to->code[i + kBlock / 2] = static_cast<int8_t>(p[i] >> 4);
  }
}

// 32 fifth bits.
inline void FifthBits(const uint8_t* p, QuantBlock* to) {
  for (int i = 0; i < kBlock; ++i) {
    to->code[i] = static_cast<int8_t>(to->code[i] | (p[i / 8] >> i % 8 & 1) << 4);
  }
}

// A plane of bits that blocks of a super block share byte by byte: `bits` of each of 32 bytes from
// `shift` on become those of the codes from `at` on.
inline void Plane(const uint8_t* p, int shift, int bits, int at, QuantBlock* to) {
  const int mask = (1 << bits) - 1;
  for (int i = 0; i < kBlock; ++i) {
    to->code[i] = static_cast<int8_t>(to->code[i] | (p[i] >> shift & mask) << at);
  }
}

// 16 bytes: nibbles that stand for values.
inline void IQ4Values(const uint8_t* p, QuantBlock* to) {
  constexpr int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  Nibbles(p, to);
  for (int8_t& code : to->code) code = kValues[code];
}

// 16 bytes: d, dmin, and the 6-bit scales and minimums of all 8 blocks in 12 bytes.
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

}  // namespace softsplice::quant
