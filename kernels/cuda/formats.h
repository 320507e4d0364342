// From a tile's bytes (tiles.h) to the tensor core's registers: one unpacker for each kind of
// codes, one for each kind of scales. All values are exact, but for float32's (tiles.h).
#pragma once

#include "kernels/cuda/tile.h"

namespace softsplice::cuda {

// The bfloat16 nearest to each of two numbers, and those nearest to what is left.
__device__ __forceinline__ void SplitPair(uint32_t& high, uint32_t& low, float first,
                                          float second) {
  high = PackBFloat16(first, second);
  low = PackBFloat16(first - __uint_as_float(high << 16),
                     second - __uint_as_float(high & 0xffff0000));
}

// The codes of inputs 16 step + {0 ... 15}, less the offset, as parts whose sum they are. Small
// whole numbers become bfloat16 under the exponent of 128, where the last bit counts one.
template <Format kFormat>
__device__ __forceinline__ void Unpack(uint32_t (&a)[Layout<kFormat>::kParts][4],
                                       const Tile<kFormat>& tile, int step) {
  using L = Layout<kFormat>;
  constexpr uint32_t k128 = 0x43004300;
  constexpr uint32_t kOffset = k128 + L::kOffset * 0x00010001;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    if constexpr (L::kCodes == Codes::kFloat32) {
      SplitPair(a[0][r], a[1][r], __uint_as_float(tile.codes[2 * r]),
                __uint_as_float(tile.codes[2 * r + 1]));
    } else if constexpr (L::kCodes == Codes::kFloat16) {
      const uint32_t pair = tile.codes[4 * step + r];
      SplitPair(a[0][r], a[1][r], HalfToFloat(static_cast<uint16_t>(pair)),
                HalfToFloat(static_cast<uint16_t>(pair >> 16)));
    } else if constexpr (L::kCodes == Codes::kBFloat16) {
      a[0][r] = tile.codes[4 * step + r];
    } else if constexpr (L::kCodes == Codes::kFourBits) {
      const uint32_t code = MaskedOr(tile.codes[step] >> 4 * r, 0x000f000f, k128);
      a[0][r] = SubtractBFloat16(code, kOffset);
    } else if constexpr (L::kCodes == Codes::kSixBits) {
      const uint32_t* words = tile.codes + step / 2 * 3;
      uint32_t code;
      if (step % 2 == 0 || r < 2) {
        code = MaskedOr(words[step % 2 * 2 + r / 2] >> 6 * (r % 2), 0x003f003f, k128);
      } else {
        code = MaskedOr(words[r - 2] >> 12, 0x000f000f, k128);
        code = MaskedOr(words[2] >> (2 * r + 4), 0x00300030, code);
      }
      a[0][r] = SubtractBFloat16(code, kOffset);
    } else {
      // Seven bits, less 128 more (twice the 128 that is added) where the sign is set.
      const uint32_t code = tile.codes[2 * step + r / 2] >> 8 * (r % 2);
      a[0][r] =
          SubtractBFloat16(MaskedOr(code, 0x007f007f, k128), MaskedOr(code, 0x00800080, k128));
    }
  }
}

// Byte i of a word, less `offset`, times a float16: as that byte of 2^15 whose last bit counts one,
// so that both products and their sum are exact.
__device__ __forceinline__ float ScaledByte(uint32_t word, int i, float times, float offset = 0) {
  const float byte = __uint_as_float(__byte_perm(word, 0x47000000, 0x7604 | i << 4));
  return fmaf(byte, times, -(0x1p15f + offset) * times);
}

// The scale and the minimum of a group of inputs for output g (half 0) or g + 8 (half 1). Products
// of a float16 and a byte are exact.
template <Format kFormat>
__device__ __forceinline__ void UnpackScale(float& scale, float& min, const Tile<kFormat>& tile,
                                            int group, int half) {
  constexpr Scales kScales = Layout<kFormat>::kScales;
  const auto half_of = [](uint32_t pair, int i) {
    return HalfToFloat(static_cast<uint16_t>(pair >> 16 * i));
  };
  if constexpr (kScales == Scales::kHalf || kScales == Scales::kHalfAndMin) {
    scale = half_of(tile.scales[group], half);
    if constexpr (kScales == Scales::kHalfAndMin) min = half_of(tile.scales[2 + group], half);
  } else if constexpr (kScales != Scales::kNone) {
    const float super = half_of(tile.supers[half], 0), super_min = half_of(tile.supers[half], 1);
    const uint32_t bytes = tile.scales[half];
    if constexpr (kScales == Scales::kSixBitsAndMin) {
      scale = ScaledByte(bytes, group, super);
      min = ScaledByte(bytes, 2 + group, super_min);
    } else if constexpr (kScales == Scales::kFourBitsAndMin) {
      scale = ScaledByte(bytes & 0x0f0f0f0f, group, super);
      min = ScaledByte(bytes >> 4 & 0x0f0f0f0f, group, super_min);
    } else {
      scale = ScaledByte(bytes, group, super, 128);
    }
  }
}

}  // namespace softsplice::cuda
