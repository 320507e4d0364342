#include "kernels/cpu/matmul/codes.h"

#include <cstring>

namespace softsplice {
namespace {

float Half(const uint8_t* p) {
  float value;
  gguf::Dequantize(gguf::Type::kF16, p, &value, 1);
  return value;
}

// 16 bytes, the low halves are the first 16 codes.
void Nibbles(const uint8_t* p, uint8_t* code) {
  for (int i = 0; i < kBlock / 2; ++i) {
    code[i] = p[i] & 15;
    code[i + kBlock / 2] = p[i] >> 4;
  }
}

void Uniform(float scale, float min, Codes* codes) {
  codes->scale[0] = codes->scale[1] = scale;
  codes->min[0] = codes->min[1] = min;
}

void DecodeQ4_0(const uint8_t* row, int block, Codes* codes) {
  const uint8_t* p = row + block * 18;
  Uniform(Half(p), 0, codes);
  Nibbles(p + 2, codes->code);
}

void DecodeQ4_1(const uint8_t* row, int block, Codes* codes) {
  const uint8_t* p = row + block * 20;
  Uniform(Half(p), Half(p + 2), codes);
  Nibbles(p + 4, codes->code);
}

constexpr QuantType kTypes[] = {
    {gguf::Type::kQ4_0, Layout::kNibbleCentred, DecodeQ4_0},
    {gguf::Type::kQ4_1, Layout::kNibbleMin, DecodeQ4_1},
};

}  // namespace

const QuantType* FindQuantType(gguf::Type type) {
  for (const QuantType& quant : kTypes) {
    if (quant.type == type) return &quant;
  }
  return nullptr;
}

}  // namespace softsplice
