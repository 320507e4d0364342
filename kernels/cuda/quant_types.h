// One decoder for each quantised type of GGUF.
#pragma once

#include "kernels/cuda/quant_blocks.h"

namespace softsplice::quant {

// Each takes the block's bytes, or those of the super block of 256 that it is in and its number
// there, and fills what is zero before.

inline void Q4_0(const uint8_t* p, QuantBlock* to) {  // d, nibbles
  SetScale(to, LoadHalf(p), 1);
  Nibbles(p + 2, to->code);
}
inline void Q4_1(const uint8_t* p, QuantBlock* to) {  // d, m, nibbles
  SetScale(to, LoadHalf(p), 1);
  SetMin(to, LoadHalf(p + 2), -1);
  Nibbles(p + 4, to->code);
}
inline void Q5_0(const uint8_t* p, QuantBlock* to) {  // d, fifth bits, nibbles
  SetScale(to, LoadHalf(p), 1);
  Nibbles(p + 6, to->code);
  FifthBits(p + 2, to->code);
}
inline void Q5_1(const uint8_t* p, QuantBlock* to) {  // d, m, fifth bits, nibbles
  SetScale(to, LoadHalf(p), 1);
  SetMin(to, LoadHalf(p + 2), -1);
  Nibbles(p + 8, to->code);
  FifthBits(p + 4, to->code);
}
inline void Q8_0(const uint8_t* p, QuantBlock* to) {  // d, signed bytes
  SetScale(to, LoadHalf(p), 1);
  std::memcpy(to->code, p + 2, kQuantBlock);
}
inline void IQ4_NL(const uint8_t* p, QuantBlock* to) {  // d, nibbles
  SetScale(to, LoadHalf(p), 1);
  Nibbles(p + 2, to->code);
  IQ4Values(to->code);
}

inline void Q2_K(const uint8_t* p, int block, QuantBlock* to) {  // 16 (scale, min), 2 bits, d, dmin
  to->d = LoadHalf(p + 80);
  to->dmin = LoadHalf(p + 82);
  for (int half = 0; half < 2; ++half) {
    to->scale[half] = p[2 * block + half] & 15;
    to->min[half] = p[2 * block + half] >> 4;
  }
  Plane(p + 16 + block / 4 * kQuantBlock, block % 4 * 2, 2, 0, to->code);
}
inline void Q3_K(const uint8_t* p, int block, QuantBlock* to) {  // high bits, 2 bits, 12 scales, d
  to->d = LoadHalf(p + 108);
  const uint8_t* scales = p + 96;
  for (int half = 0; half < 2; ++half) {
    const int group = 2 * block + half;
    const int low = scales[group % 8] >> group / 8 * 4 & 15;
    const int high = scales[8 + group % 4] >> group / 4 * 2 & 3;
    to->scale[half] = (low | high << 4) - 32;
  }
  Plane(p + 32 + block / 4 * kQuantBlock, block % 4 * 2, 2, 0, to->code);
  Plane(p, block, 1, 2, to->code);
}
inline void Q4_K(const uint8_t* p, int block, QuantBlock* to) {  // d, dmin, 12 scales, nibbles
  SixBitScales(p, block, to);
  Plane(p + 16 + block / 2 * kQuantBlock, block % 2 * 4, 4, 0, to->code);
}
inline void Q5_K(const uint8_t* p, int block, QuantBlock* to) {  // as Q4_K, fifth bits between
  SixBitScales(p, block, to);
  Plane(p + 48 + block / 2 * kQuantBlock, block % 2 * 4, 4, 0, to->code);
  Plane(p + 16, block, 1, 4, to->code);
}
inline void Q6_K(const uint8_t* p, int block, QuantBlock* to) {  // low 4, high 2, 16 scales, d
  to->d = LoadHalf(p + 208);
  for (int half = 0; half < 2; ++half) {
    to->scale[half] = static_cast<int8_t>(p[192 + 2 * block + half]);
  }
  const uint8_t* low = p + block / 4 * 64 + block % 2 * kQuantBlock;
  Plane(low, block % 4 / 2 * 4, 4, 0, to->code);
  Plane(p + 128 + block / 4 * kQuantBlock, block % 4 * 2, 2, 4, to->code);
}
inline void IQ4_XS(const uint8_t* p, int block, QuantBlock* to) {  // d, scales, nibbles
  const int low = p[4 + block / 2] >> 4 * (block % 2) & 15;
  const int high = Load16(p + 2) >> 2 * block & 3;
  SetScale(to, LoadHalf(p), (low | high << 4) - 32);
  Nibbles(p + 8 + block * 16, to->code);
  IQ4Values(to->code);
}

}  // namespace softsplice::quant
