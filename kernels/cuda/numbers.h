// One number out of a block of each GGUF type, bit-equal to gguf::Dequantize: products and sums are
// rounded one by one. For look-ups in tables; Matmul unpacks in its own way.
#pragma once

#include "kernels/cuda/device.h"

namespace softsplice::cuda {

__device__ inline int Load16(const uint8_t* p) { return p[0] | p[1] << 8; }
__device__ inline uint32_t Load32(const uint8_t* p) {
  return static_cast<uint32_t>(Load16(p)) | static_cast<uint32_t>(Load16(p + 2)) << 16;
}
__device__ inline float LoadHalf(const uint8_t* p) {
  return HalfToFloat(static_cast<uint16_t>(Load16(p)));
}
// scale q + sum.
__device__ inline float Scaled(float scale, int q, float sum) {
  return __fadd_rn(__fmul_rn(scale, static_cast<float>(q)), sum);
}
// In a run of 16 bytes: number i < 16 has the low half of byte i, number i + 16 the high half.
__device__ inline int Nibble(const uint8_t* p, int i) { return p[i % 16] >> i / 16 * 4 & 15; }

// A value of IQ4_NL and IQ4_XS.
__device__ inline int IQ4Value(int index) {
  // -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, as bytes, the first one lowest.
  const uint64_t low = 0xf6eaddcfbfad9881, high = 0x7159453526190d01;
  return static_cast<int8_t>((index < 8 ? low : high) >> index % 8 * 8);
}

struct F32 {
  static constexpr int kNumbers = 1, kBytes = 4;
  static __device__ float At(const uint8_t* p, int) { return __uint_as_float(Load32(p)); }
};
struct F16 {
  static constexpr int kNumbers = 1, kBytes = 2;
  static __device__ float At(const uint8_t* p, int) { return LoadHalf(p); }
};
struct BF16 {
  static constexpr int kNumbers = 1, kBytes = 2;
  static __device__ float At(const uint8_t* p, int) {
    return BFloat16ToFloat(static_cast<uint16_t>(Load16(p)));
  }
};
struct Q4_0 {  // d, nibbles
  static constexpr int kNumbers = 32, kBytes = 18;
  static __device__ float At(const uint8_t* p, int i) {
    return LoadHalf(p) * static_cast<float>(Nibble(p + 2, i) - 8);
  }
};
struct Q4_1 {  // d, m, nibbles
  static constexpr int kNumbers = 32, kBytes = 20;
  static __device__ float At(const uint8_t* p, int i) {
    return Scaled(LoadHalf(p), Nibble(p + 4, i), LoadHalf(p + 2));
  }
};
struct Q5_0 {  // d, 32 high bits, nibbles
  static constexpr int kNumbers = 32, kBytes = 22;
  static __device__ float At(const uint8_t* p, int i) {
    const int high = Load32(p + 2) >> i & 1;
    return LoadHalf(p) * static_cast<float>((Nibble(p + 6, i) | high << 4) - 16);
  }
};
struct Q5_1 {  // d, m, 32 high bits, nibbles
  static constexpr int kNumbers = 32, kBytes = 24;
  static __device__ float At(const uint8_t* p, int i) {
    const int high = Load32(p + 4) >> i & 1;
    return Scaled(LoadHalf(p), Nibble(p + 8, i) | high << 4, LoadHalf(p + 2));
  }
};
struct Q8_0 {  // d, signed bytes
  static constexpr int kNumbers = 32, kBytes = 34;
  static __device__ float At(const uint8_t* p, int i) {
    return LoadHalf(p) * static_cast<float>(static_cast<int8_t>(p[2 + i]));
  }
};
struct IQ4_NL {  // d, nibbles
  static constexpr int kNumbers = 32, kBytes = 18;
  static __device__ float At(const uint8_t* p, int i) {
    return LoadHalf(p) * static_cast<float>(IQ4Value(Nibble(p + 2, i)));
  }
};

}  // namespace softsplice::cuda
