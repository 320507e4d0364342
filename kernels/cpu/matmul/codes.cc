#include "kernels/cpu/matmul/codes.h"

#include <cstring>

#include "common/gguf/half.h"
#include "kernels/cpu/matmul/layout.h"

namespace softsplice {
namespace {

constexpr int kHalf = kBlock / 2;

uint16_t Load16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
float LoadHalf(const uint8_t* p) { return HalfToFloat(Load16(p)); }

void SetScale(Codes* codes, float scale, float min) {
  codes->scale[0] = codes->scale[1] = scale;
  codes->min[0] = codes->min[1] = min;
}

// 16 bytes; the low halves are the first 16 codes.
void Nibbles(const uint8_t* p, uint8_t* code) {
  for (int i = 0; i < kHalf; ++i) {
    code[i] = p[i] & 15;
    code[i + kHalf] = p[i] >> 4;
  }
}

void DecodeQ4_0(const uint8_t* row, int block, Codes* codes) {  // d, nibbles
  const uint8_t* p = row + block * 18;
  SetScale(codes, LoadHalf(p), 0);
  Nibbles(p + 2, codes->code);
}

void DecodeQ4_1(const uint8_t* row, int block, Codes* codes) {  // d, m, nibbles
  const uint8_t* p = row + block * 20;
  SetScale(codes, LoadHalf(p), LoadHalf(p + 2));
  Nibbles(p + 4, codes->code);
}

// 32 fifth bits, 16 bytes of nibbles.
void FiveBits(const uint8_t* p, uint8_t* code) {
  Nibbles(p + 4, code);
  for (int i = 0; i < kBlock; ++i) {
    code[i] = static_cast<uint8_t>(code[i] | (p[i / 8] >> i % 8 & 1) << 4);
  }
}

void DecodeQ5_0(const uint8_t* row, int block, Codes* codes) {  // d, codes less 16
  const uint8_t* p = row + block * 22;
  const float d = LoadHalf(p);
  SetScale(codes, d, -16 * d);
  FiveBits(p + 2, codes->code);
}

void DecodeQ5_1(const uint8_t* row, int block, Codes* codes) {  // d, m, codes
  const uint8_t* p = row + block * 24;
  SetScale(codes, LoadHalf(p), LoadHalf(p + 2));
  FiveBits(p + 4, codes->code);
}

void DecodeQ8_0(const uint8_t* row, int block, Codes* codes) {  // d, signed bytes
  const uint8_t* p = row + block * 34;
  SetScale(codes, LoadHalf(p), 0);
  std::memcpy(codes->code, p + 2, kBlock);
}

// Two bits of each: blocks 0..3 of half a super block share 32 bytes.
void Pairs(const uint8_t* quants, int block, uint8_t* code) {
  const uint8_t* p = quants + block / 4 * kBlock;
  const int shift = block % 4 * 2;
  for (int i = 0; i < kBlock; ++i) code[i] = p[i] >> shift & 3;
}

void DecodeQ2_K(const uint8_t* row, int block, Codes* codes) {  // 16 (scale, min), pairs, d, dmin
  const uint8_t* p = row + block / 8 * 84;
  block %= 8;
  for (int half = 0; half < 2; ++half) {
    const int parts = p[2 * block + half];
    codes->scale[half] = LoadHalf(p + 80) * static_cast<float>(parts & 15);
    codes->min[half] = -(LoadHalf(p + 82) * static_cast<float>(parts >> 4));
  }
  Pairs(p + 16, block, codes->code);
}

void DecodeQ3_K(const uint8_t* row, int block, Codes* codes) {  // high bits, pairs, 12 scales, d
  const uint8_t* p = row + block / 8 * 110;
  block %= 8;
  const uint8_t* scales = p + 96;
  for (int half = 0; half < 2; ++half) {
    const int group = 2 * block + half;
    const int low = scales[group % 8] >> group / 8 * 4 & 15;
    const int high = scales[8 + group % 4] >> group / 4 * 2 & 3;
    codes->scale[half] = LoadHalf(p + 108) * static_cast<float>((low | high << 4) - 32);
    codes->min[half] = -4 * codes->scale[half];
  }
  Pairs(p + 32, block, codes->code);
  for (int i = 0; i < kBlock; ++i) {
    codes->code[i] = static_cast<uint8_t>(codes->code[i] | (p[i] >> block & 1) << 2);
  }
}

// The 6-bit scale and minimum of one block that Q4_K and Q5_K pack into 12 bytes.
void SixBitParts(const uint8_t* packed, int block, Codes* codes) {
  const int i = block % 4;
  if (block < 4) {
    codes->part[0] = packed[i] & 63;
    codes->part_min = packed[4 + i] & 63;
  } else {
    codes->part[0] = static_cast<uint8_t>((packed[8 + i] & 15) | (packed[i] >> 2 & 48));
    codes->part_min = static_cast<uint8_t>(packed[8 + i] >> 4 | (packed[4 + i] >> 2 & 48));
  }
}

// 128 bytes of nibbles: two blocks share 32 of them.
void SharedNibbles(const uint8_t* quants, int block, uint8_t* code) {
  const uint8_t* p = quants + block / 2 * kBlock;
  const int shift = block % 2 * 4;
  for (int i = 0; i < kBlock; ++i) code[i] = p[i] >> shift & 15;
}

void DecodeQ4_K(const uint8_t* row, int block, Codes* codes) {  // d, dmin, 12 parts, nibbles
  const uint8_t* p = row + block / 8 * 144;
  codes->d = LoadHalf(p);
  codes->dmin = LoadHalf(p + 2);
  SixBitParts(p + 4, block % 8, codes);
  SharedNibbles(p + 16, block % 8, codes->code);
}

void DecodeQ5_K(const uint8_t* row, int block, Codes* codes) {  // as Q4_K, 32 high bytes between
  const uint8_t* p = row + block / 8 * 176;
  block %= 8;
  SixBitParts(p + 4, block, codes);
  SetScale(codes, LoadHalf(p) * static_cast<float>(codes->part[0]),
           -(LoadHalf(p + 2) * static_cast<float>(codes->part_min)));
  SharedNibbles(p + 48, block, codes->code);
  for (int i = 0; i < kBlock; ++i) {
    codes->code[i] = static_cast<uint8_t>(codes->code[i] | (p[16 + i] >> block & 1) << 4);
  }
}

void DecodeQ6_K(const uint8_t* row, int block, Codes* codes) {  // low 4, high 2, 16 scales, d
  const uint8_t* p = row + block / 8 * 210;
  block %= 8;
  codes->d = LoadHalf(p + 208);
  for (int half = 0; half < 2; ++half) codes->part[half] = p[192 + 2 * block + half];
  // Within half a super block, blocks 0 and 2 share bytes, 1 and 3 do.
  const uint8_t* low = p + block / 4 * 64 + block % 2 * kBlock;
  const uint8_t* high = p + 128 + block / 4 * kBlock;
  const int low_shift = block % 4 / 2 * 4;
  const int high_shift = block % 4 * 2;
  for (int i = 0; i < kBlock; ++i) {
    codes->code[i] =
        static_cast<uint8_t>((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4);
  }
}

constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

void LookUp(const uint8_t* p, uint8_t* code) {
  Nibbles(p, code);
  for (int i = 0; i < kBlock; ++i) code[i] = static_cast<uint8_t>(kIQ4Values[code[i]]);
}

void DecodeIQ4_NL(const uint8_t* row, int block, Codes* codes) {  // d, nibbles
  const uint8_t* p = row + block * 18;
  SetScale(codes, LoadHalf(p), 0);
  LookUp(p + 2, codes->code);
}

void DecodeIQ4_XS(const uint8_t* row, int block, Codes* codes) {  // d, scales, nibbles
  const uint8_t* p = row + block / 8 * 136;
  block %= 8;
  const int low = p[4 + block / 2] >> 4 * (block % 2) & 15;
  const int high = Load16(p + 2) >> 2 * block & 3;
  SetScale(codes, LoadHalf(p) * static_cast<float>((low | high << 4) - 32), 0);
  LookUp(p + 8 + block * kHalf, codes->code);
}

// Decoding and storing in one loop, so that the codes stay in registers.
template <Layout kLayout, auto decode>
void PackPanel(char* dst, int panel, const PanelSource& source) {
  const UnitBytes bytes = BytesOf(kLayout, panel);
  const int unit_blocks = UnitInputs(kLayout) / kBlock;
  const int blocks = source.cols / kBlock;
  for (int first = 0; first < blocks; first += unit_blocks) {
    char* body = dst + bytes.header;
    for (int b = first; b < first + unit_blocks; ++b, body += bytes.block) {
      for (int o = 0; o < source.count; ++o) {
        Codes codes = {};
        decode(source.Row(o), b, &codes);
        StoreCodes<kLayout>(dst, body, panel, o, codes);
      }
    }
    dst = body;
  }
}

template <Layout kLayout, auto decode>
constexpr QuantType Packed(gguf::Type type) {
  return {type, kLayout, PackPanel<kLayout, decode>};
}

constexpr QuantType kTypes[] = {
    Packed<Layout::kNibbleCentred, DecodeQ4_0>(gguf::Type::kQ4_0),
    Packed<Layout::kNibbleMin, DecodeQ4_1>(gguf::Type::kQ4_1),
    Packed<Layout::kByteMin, DecodeQ5_0>(gguf::Type::kQ5_0),
    Packed<Layout::kByteMin, DecodeQ5_1>(gguf::Type::kQ5_1),
    Packed<Layout::kSignedHalf, DecodeQ8_0>(gguf::Type::kQ8_0),
    Packed<Layout::kByteMinHalves, DecodeQ2_K>(gguf::Type::kQ2_K),
    Packed<Layout::kByteMinHalves, DecodeQ3_K>(gguf::Type::kQ3_K),
    Packed<Layout::kNibbleSuper, DecodeQ4_K>(gguf::Type::kQ4_K),
    Packed<Layout::kByteMin, DecodeQ5_K>(gguf::Type::kQ5_K),
    Packed<Layout::kSix, DecodeQ6_K>(gguf::Type::kQ6_K),
    Packed<Layout::kSignedHalf, DecodeIQ4_NL>(gguf::Type::kIQ4_NL),
    Packed<Layout::kSignedFloat, DecodeIQ4_XS>(gguf::Type::kIQ4_XS),
};

}  // namespace

const QuantType* FindQuantType(gguf::Type type) {
  for (const QuantType& quant : kTypes) {
    if (quant.type == type) return &quant;
  }
  return nullptr;
}

}  // namespace softsplice
