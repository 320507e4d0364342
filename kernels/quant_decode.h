// The quantised types of GGUF taken apart. Inline, so that a packer's loop keeps codes in
// registers. common/gguf/dequant.cc reads the same types in another way, as the oracle.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/gguf/types.h"
#include "kernels/quant_parts.h"

namespace softsplice {
namespace quant {

// Each takes the bytes of a block, or those of a super block and the block's number there, and
// fills what is zero before.

inline void Q4_0(const uint8_t* p, int, QuantBlock* to) {  // d, nibbles
  to->offset = 8;
  SetScale(to, LoadHalf(p), 1);
  Nibbles(p + 2, to);
}
inline void Q4_1(const uint8_t* p, int, QuantBlock* to) {  // d, m, nibbles
  SetScale(to, LoadHalf(p), 1);
  SetMin(to, LoadHalf(p + 2), -1);
  Nibbles(p + 4, to);
}
inline void Q5_0(const uint8_t* p, int, QuantBlock* to) {  // d, fifth bits, nibbles
  to->offset = 16;
  SetScale(to, LoadHalf(p), 1);
  Nibbles(p + 6, to);
  FifthBits(p + 2, to);
}
inline void Q5_1(const uint8_t* p, int, QuantBlock* to) {  // d, m, fifth bits, nibbles
  SetScale(to, LoadHalf(p), 1);
  SetMin(to, LoadHalf(p + 2), -1);
  Nibbles(p + 8, to);
  FifthBits(p + 4, to);
}
inline void Q8_0(const uint8_t* p, int, QuantBlock* to) {  // d, signed bytes
  SetScale(to, LoadHalf(p), 1);
  std::memcpy(to->code, p + 2, kBlock);
}
inline void Q2_K(const uint8_t* p, int block, QuantBlock* to) {  // 16 (scale, min), 2 bits, d, dmin
  to->d = LoadHalf(p + 80);
  to->dmin = LoadHalf(p + 82);
  for (int half = 0; half < 2; ++half) {
    to->scale[half] = p[2 * block + half] & 15;
    to->min[half] = p[2 * block + half] >> 4;
  }
  Plane(p + 16 + block / 4 * kBlock, block % 4 * 2, 2, 0, to);
}
inline void Q3_K(const uint8_t* p, int block, QuantBlock* to) {  // high bits, 2 bits, 12 scales, d
  to->offset = 4;
  to->d = LoadHalf(p + 108);
  const uint8_t* scales = p + 96;
  for (int half = 0; half < 2; ++half) {
    const int group = 2 * block + half;
    const int low = scales[group % 8] >> group / 8 * 4 & 15;
    const int high = scales[8 + group % 4] >> group / 4 * 2 & 3;
    to->scale[half] = (low | high << 4) - 32;
  }
  Plane(p + 32 + block / 4 * kBlock, block % 4 * 2, 2, 0, to);
  Plane(p, block, 1, 2, to);
}
inline void Q4_K(const uint8_t* p, int block, QuantBlock* to) {  // d, dmin, 12 scales, nibbles
  SixBitScales(p, block, to);
  Plane(p + 16 + block / 2 * kBlock, block % 2 * 4, 4, 0, to);
}
inline void Q5_K(const uint8_t* p, int block, QuantBlock* to) {  // as Q4_K, fifth bits between
  SixBitScales(p, block, to);
  Plane(p + 48 + block / 2 * kBlock, block % 2 * 4, 4, 0, to);
  Plane(p + 16, block, 1, 4, to);
}
inline void Q6_K(const uint8_t* p, int block, QuantBlock* to) {  // low 4, high 2, 16 scales, d
  to->offset = 32;
  to->d = LoadHalf(p + 208);
  for (int half = 0; half < 2; ++half) {
    to->scale[half] = static_cast<int8_t>(p[192 + 2 * block + half]);
  }
  Plane(p + block / 4 * 64 + block % 2 * kBlock, block % 4 / 2 * 4, 4, 0, to);
  Plane(p + 128 + block / 4 * kBlock, block % 4 * 2, 2, 4, to);
}
inline void IQ4_NL(const uint8_t* p, int, QuantBlock* to) {  // d, nibbles
  SetScale(to, LoadHalf(p), 1);
  IQ4Values(p + 2, to);
}
inline void IQ4_XS(const uint8_t* p, int block, QuantBlock* to) {  // d, scales, nibbles
  const int low = p[4 + block / 2] >> 4 * (block % 2) & 15;
  const int high = Load16(p + 2) >> 2 * block & 3;
  SetScale(to, LoadHalf(p), (low | high << 4) - 32);
  IQ4Values(p + 8 + block * (kBlock / 2), to);
}

// For types whose blocks, or super blocks of `blocks`, have `bytes`.
template <auto decode, int bytes, int blocks = 1>
void Decode(const uint8_t* row, int block, QuantBlock* to) {
  *to = {};
  decode(row + block / blocks * bytes, block % blocks, to);
}

}  // namespace quant

// Fills `to` from block `block` of a row.
using QuantDecoder = void (*)(const uint8_t* row, int block, QuantBlock* to);

// Null for types that are not quantised.
constexpr QuantDecoder DecoderOf(gguf::Type type) {
  using gguf::Type;
  switch (type) {
    case Type::kF32:
    case Type::kF16:
    case Type::kBF16:
      return nullptr;
    case Type::kQ4_0:
      return quant::Decode<quant::Q4_0, 18>;
    case Type::kQ4_1:
      return quant::Decode<quant::Q4_1, 20>;
    case Type::kQ5_0:
      return quant::Decode<quant::Q5_0, 22>;
    case Type::kQ5_1:
      return quant::Decode<quant::Q5_1, 24>;
    case Type::kQ8_0:
      return quant::Decode<quant::Q8_0, 34>;
    case Type::kQ2_K:
      return quant::Decode<quant::Q2_K, 84, 8>;
    case Type::kQ3_K:
      return quant::Decode<quant::Q3_K, 110, 8>;
    case Type::kQ4_K:
      return quant::Decode<quant::Q4_K, 144, 8>;
    case Type::kQ5_K:
      return quant::Decode<quant::Q5_K, 176, 8>;
    case Type::kQ6_K:
      return quant::Decode<quant::Q6_K, 210, 8>;
    case Type::kIQ4_NL:
      return quant::Decode<quant::IQ4_NL, 18>;
    case Type::kIQ4_XS:
      return quant::Decode<quant::IQ4_XS, 136, 8>;
  }
  return nullptr;
}

}  // namespace softsplice
