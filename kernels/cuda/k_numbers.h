// The types of numbers.h whose blocks have 256 numbers and scales of their own inside.
#pragma once

#include "kernels/cuda/numbers.h"

namespace softsplice::cuda {

// Scale and minimum `group` of the eight of six bits each that Q4_K and Q5_K pack into 12 bytes.
struct ScaleAndMin {
  int scale, min;
};
__device__ inline ScaleAndMin LoadScaleAndMin(const uint8_t* p, int group) {
  const int i = group % 4;
  if (group < 4) return {p[i] & 63, p[4 + i] & 63};
  return {(p[8 + i] & 15) | (p[i] >> 2 & 48), p[8 + i] >> 4 | (p[4 + i] >> 2 & 48)};
}

struct Q2_K {  // 16 (scale, min) nibbles, 64 bytes of 2 bits, d, dmin
  static constexpr int kNumbers = 256, kBytes = 84;
  static __device__ float At(const uint8_t* p, int i) {
    const int q = p[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
    const float scale = LoadHalf(p + 80) * static_cast<float>(p[i / 16] & 15);
    const float min = LoadHalf(p + 82) * static_cast<float>(p[i / 16] >> 4);
    return Scaled(scale, q, -min);
  }
};
struct Q3_K {  // 32 bytes of high bits, 64 bytes of 2 bits, 12 of scales, d
  static constexpr int kNumbers = 256, kBytes = 110;
  static __device__ float At(const uint8_t* p, int i) {
    const int group = i / 16;
    const int low4 = p[96 + group % 8] >> group / 8 * 4 & 15;
    const int high2 = p[104 + group % 4] >> group / 4 * 2 & 3;
    const float scale = LoadHalf(p + 108) * static_cast<float>((low4 | high2 << 4) - 32);
    const int q = p[32 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
    const int high = p[i % 32] >> i / 32 & 1;  // 0: four less
    return scale * static_cast<float>(q + 4 * high - 4);
  }
};
struct Q4_K {  // d, dmin, 12 bytes of scales, 128 bytes of nibbles
  static constexpr int kNumbers = 256, kBytes = 144;
  static __device__ float At(const uint8_t* p, int i) {
    const ScaleAndMin of = LoadScaleAndMin(p + 4, i / 32);
    const int q = p[16 + i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
    return Scaled(LoadHalf(p) * static_cast<float>(of.scale), q,
                  -(LoadHalf(p + 2) * static_cast<float>(of.min)));
  }
};
struct Q5_K {  // d, dmin, 12 bytes of scales, 32 of high bits, 128 of nibbles
  static constexpr int kNumbers = 256, kBytes = 176;
  static __device__ float At(const uint8_t* p, int i) {
    const ScaleAndMin of = LoadScaleAndMin(p + 4, i / 32);
    const int low = p[48 + i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
    const int high = p[16 + i % 32] >> i / 32 & 1;
    return Scaled(LoadHalf(p) * static_cast<float>(of.scale), low | high << 4,
                  -(LoadHalf(p + 2) * static_cast<float>(of.min)));
  }
};
struct Q6_K {  // 128 bytes of low nibbles, 64 of 2 high bits, 16 scales, d
  static constexpr int kNumbers = 256, kBytes = 210;
  static __device__ float At(const uint8_t* p, int i) {
    const int low = p[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
    const int high = p[128 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
    const float scale =
        LoadHalf(p + 208) * static_cast<float>(static_cast<int8_t>(p[192 + i / 16]));
    return scale * static_cast<float>((low | high << 4) - 32);
  }
};
struct IQ4_XS {  // d, 16 high bits of scales, 4 bytes of low ones, 128 bytes of nibbles
  static constexpr int kNumbers = 256, kBytes = 136;
  static __device__ float At(const uint8_t* p, int i) {
    const int group = i / 32;
    const int low = p[4 + group / 2] >> group % 2 * 4 & 15;
    const int high = Load16(p + 2) >> 2 * group & 3;
    const float scale = LoadHalf(p) * static_cast<float>((low | high << 4) - 32);
    return scale * static_cast<float>(IQ4Value(Nibble(p + 8 + 16 * group, i % 32)));
  }
};

}  // namespace softsplice::cuda
