// Exact dequantisation. The order of the float operations is gguf-py's (gguf/quants.py), so that
// results are equal bit for bit; this file is compiled without contraction into fused
// multiply-adds.
#include <cstring>

#include "absl/base/macros.h"
#include "common/gguf/half.h"
#include "common/gguf/types.h"

namespace softsplice::gguf {
namespace {

constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

uint16_t Load16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

uint32_t Load32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

float LoadHalf(const uint8_t* p) { return HalfToFloat(Load16(p)); }

// Each function below writes the numbers of one block.

void BlockQ4_0(const uint8_t* src, float* dst) {  // d, 16 bytes of nibbles
  const float d = LoadHalf(src);
  for (int i = 0; i < 16; ++i) {
    const int q = src[2 + i];
    dst[i] = d * static_cast<float>((q & 15) - 8);
    dst[i + 16] = d * static_cast<float>((q >> 4) - 8);
  }
}

void BlockQ4_1(const uint8_t* src, float* dst) {  // d, m, 16 bytes of nibbles
  const float d = LoadHalf(src);
  const float m = LoadHalf(src + 2);
  for (int i = 0; i < 16; ++i) {
    const int q = src[4 + i];
    dst[i] = d * static_cast<float>(q & 15) + m;
    dst[i + 16] = d * static_cast<float>(q >> 4) + m;
  }
}

void BlockQ5_0(const uint8_t* src, float* dst) {  // d, 32 high bits, 16 bytes of nibbles
  const float d = LoadHalf(src);
  const uint32_t high = Load32(src + 2);
  for (int i = 0; i < 16; ++i) {
    const int q = src[6 + i];
    const int lo = (q & 15) | (static_cast<int>((high >> i) & 1) << 4);
    const int hi = (q >> 4) | (static_cast<int>((high >> (i + 16)) & 1) << 4);
    dst[i] = d * static_cast<float>(lo - 16);
    dst[i + 16] = d * static_cast<float>(hi - 16);
  }
}

void BlockQ5_1(const uint8_t* src, float* dst) {  // d, m, 32 high bits, 16 bytes of nibbles
  const float d = LoadHalf(src);
  const float m = LoadHalf(src + 2);
  const uint32_t high = Load32(src + 4);
  for (int i = 0; i < 16; ++i) {
    const int q = src[8 + i];
    const int lo = (q & 15) | (static_cast<int>((high >> i) & 1) << 4);
    const int hi = (q >> 4) | (static_cast<int>((high >> (i + 16)) & 1) << 4);
    dst[i] = d * static_cast<float>(lo) + m;
    dst[i + 16] = d * static_cast<float>(hi) + m;
  }
}

void BlockQ8_0(const uint8_t* src, float* dst) {  // d, 32 signed bytes
  const float d = LoadHalf(src);
  for (int i = 0; i < 32; ++i) {
    dst[i] = static_cast<float>(static_cast<int8_t>(src[2 + i])) * d;
  }
}

void BlockQ2_K(const uint8_t* src, float* dst) {  // 16 (scale, min) nibbles, 64 bytes, d, dmin
  const float d = LoadHalf(src + 80);
  const float dmin = LoadHalf(src + 82);
  const uint8_t* quants = src + 16;
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(src[group] & 15);
    const float min = dmin * static_cast<float>(src[group] >> 4);
    const uint8_t* q = quants + (group / 8) * 32 + (group % 2) * 16;
    const int shift = ((group % 8) / 2) * 2;
    for (int i = 0; i < 16; ++i) {
      dst[group * 16 + i] = scale * static_cast<float>((q[i] >> shift) & 3) - min;
    }
  }
}

void BlockQ3_K(const uint8_t* src, float* dst) {  // 32 bytes high bits, 64 bytes, 12 scales, d
  const uint8_t* high = src;
  const uint8_t* quants = src + 32;
  const uint8_t* scales = src + 96;
  const float d = LoadHalf(src + 108);
  for (int group = 0; group < 16; ++group) {
    const int low4 = (scales[group % 8] >> ((group / 8) * 4)) & 15;
    const int high2 = (scales[8 + group % 4] >> ((group / 4) * 2)) & 3;
    const float scale = d * static_cast<float>((low4 | (high2 << 4)) - 32);
    const uint8_t* q = quants + (group / 8) * 32 + (group % 2) * 16;
    const uint8_t* h = high + (group % 2) * 16;
    const int shift = ((group % 8) / 2) * 2;
    const int bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      // A high bit of 1 means no offset.
      const int offset = (((h[i] >> bit) & 1) ^ 1) << 2;
      dst[group * 16 + i] = scale * static_cast<float>(((q[i] >> shift) & 3) - offset);
    }
  }
}

// The eight 6-bit scales and minima that Q4_K and Q5_K pack into 12 bytes.
void UnpackScalesK(const uint8_t* packed, int* scale, int* min) {
  for (int i = 0; i < 4; ++i) {
    scale[i] = packed[i] & 63;
    min[i] = packed[4 + i] & 63;
    scale[4 + i] = (packed[8 + i] & 15) | ((packed[i] >> 2) & 48);
    min[4 + i] = (packed[8 + i] >> 4) | ((packed[4 + i] >> 2) & 48);
  }
}

void BlockQ4_K(const uint8_t* src, float* dst) {  // d, dmin, 12 scales, 128 bytes of nibbles
  const float d = LoadHalf(src);
  const float dmin = LoadHalf(src + 2);
  int scales[8];
  int mins[8];
  UnpackScalesK(src + 4, scales, mins);
  for (int group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(scales[group]);
    const float min = dmin * static_cast<float>(mins[group]);
    const uint8_t* q = src + 16 + (group / 2) * 32;
    const int shift = (group % 2) * 4;
    for (int i = 0; i < 32; ++i) {
      dst[group * 32 + i] = scale * static_cast<float>((q[i] >> shift) & 15) - min;
    }
  }
}

void BlockQ5_K(const uint8_t* src, float* dst) {  // d, dmin, 12 scales, 32 high, 128 nibble bytes
  const float d = LoadHalf(src);
  const float dmin = LoadHalf(src + 2);
  int scales[8];
  int mins[8];
  UnpackScalesK(src + 4, scales, mins);
  const uint8_t* high = src + 16;
  for (int group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(scales[group]);
    const float min = dmin * static_cast<float>(mins[group]);
    const uint8_t* q = src + 48 + (group / 2) * 32;
    const int shift = (group % 2) * 4;
    for (int i = 0; i < 32; ++i) {
      const int value = ((q[i] >> shift) & 15) | (((high[i] >> group) & 1) << 4);
      dst[group * 32 + i] = scale * static_cast<float>(value) - min;
    }
  }
}

void BlockQ6_K(const uint8_t* src, float* dst) {  // 128 low nibbles, 64 high, 16 scales, d
  const uint8_t* low = src;
  const uint8_t* high = src + 128;
  const uint8_t* scales = src + 192;
  const float d = LoadHalf(src + 208);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[group]));
    const int row = group / 2;  // 32 numbers; within a half, 4 rows share bytes
    const uint8_t* l = low + (row / 4) * 64 + (row % 2) * 32 + (group % 2) * 16;
    const uint8_t* h = high + (row / 4) * 32 + (group % 2) * 16;
    const int low_shift = ((row % 4) / 2) * 4;
    const int high_shift = (row % 4) * 2;
    for (int i = 0; i < 16; ++i) {
      const int q = ((l[i] >> low_shift) & 15) | (((h[i] >> high_shift) & 3) << 4);
      dst[group * 16 + i] = scale * static_cast<float>(q - 32);
    }
  }
}

void BlockIQ4_NL(const uint8_t* src, float* dst) {  // d, 16 bytes of indices
  const float d = LoadHalf(src);
  for (int i = 0; i < 16; ++i) {
    dst[i] = d * static_cast<float>(kIQ4Values[src[2 + i] & 15]);
    dst[i + 16] = d * static_cast<float>(kIQ4Values[src[2 + i] >> 4]);
  }
}

void BlockIQ4_XS(const uint8_t* src, float* dst) {  // d, 16 high scale bits, 4 low, 128 indices
  const float d = LoadHalf(src);
  const int scales_high = Load16(src + 2);
  const uint8_t* scales_low = src + 4;
  for (int group = 0; group < 8; ++group) {
    const int low = (scales_low[group / 2] >> ((group % 2) * 4)) & 15;
    const int high = (scales_high >> (2 * group)) & 3;
    const float scale = d * static_cast<float>((low | (high << 4)) - 32);
    const uint8_t* q = src + 8 + group * 16;
    for (int i = 0; i < 16; ++i) {
      dst[group * 32 + i] = scale * static_cast<float>(kIQ4Values[q[i] & 15]);
      dst[group * 32 + 16 + i] = scale * static_cast<float>(kIQ4Values[q[i] >> 4]);
    }
  }
}

template <int kElements, int kBytes, void (*kBlock)(const uint8_t*, float*)>
void Blocks(const uint8_t* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; i += kElements, src += kBytes, dst += kElements) kBlock(src, dst);
}

}  // namespace

void Dequantize(Type type, const void* src, float* dst, int64_t n) {
  const auto* bytes = static_cast<const uint8_t*>(src);
  ABSL_ASSERT(n % Info(type).block_elements == 0);
  switch (type) {
    case Type::kF32:
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
      return;
    case Type::kF16:
      for (int64_t i = 0; i < n; ++i) dst[i] = HalfToFloat(Load16(bytes + 2 * i));
      return;
    case Type::kBF16:
      for (int64_t i = 0; i < n; ++i) dst[i] = BF16ToFloat(Load16(bytes + 2 * i));
      return;
    case Type::kQ4_0:
      return Blocks<32, 18, BlockQ4_0>(bytes, dst, n);
    case Type::kQ4_1:
      return Blocks<32, 20, BlockQ4_1>(bytes, dst, n);
    case Type::kQ5_0:
      return Blocks<32, 22, BlockQ5_0>(bytes, dst, n);
    case Type::kQ5_1:
      return Blocks<32, 24, BlockQ5_1>(bytes, dst, n);
    case Type::kQ8_0:
      return Blocks<32, 34, BlockQ8_0>(bytes, dst, n);
    case Type::kQ2_K:
      return Blocks<256, 84, BlockQ2_K>(bytes, dst, n);
    case Type::kQ3_K:
      return Blocks<256, 110, BlockQ3_K>(bytes, dst, n);
    case Type::kQ4_K:
      return Blocks<256, 144, BlockQ4_K>(bytes, dst, n);
    case Type::kQ5_K:
      return Blocks<256, 176, BlockQ5_K>(bytes, dst, n);
    case Type::kQ6_K:
      return Blocks<256, 210, BlockQ6_K>(bytes, dst, n);
    case Type::kIQ4_NL:
      return Blocks<32, 18, BlockIQ4_NL>(bytes, dst, n);
    case Type::kIQ4_XS:
      return Blocks<256, 136, BlockIQ4_XS>(bytes, dst, n);
  }
}

}  // namespace softsplice::gguf
