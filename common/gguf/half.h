// Half-precision numbers as bits: conversions that are exact and the same on every CPU.
#pragma once

#include <bit>
#include <cstdint>

namespace softsplice {

// IEEE binary16 to float32; exact. Branch-free in the compiled form, so loops over it vectorise.
constexpr float HalfToFloat(uint16_t half) {
  constexpr uint32_t kSubnormalBias = 113u << 23;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(half & 0x7fffu) << 13;  // exponent and fraction
  // Below 2^-14 the fraction has no leading one: let a float subtraction normalise it.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(rest + kSubnormalBias) -
                                                     std::bit_cast<float>(kSubnormalBias));
  const uint32_t normal = rest + (112u << 23);
  const uint32_t special = rest | 0x7f800000u;  // infinities and NaN
  const uint32_t bits = rest < (1u << 23) ? subnormal : (rest >= (31u << 23) ? special : normal);
  return std::bit_cast<float>(bits | sign);
}

// Float32 to IEEE binary16, rounded to nearest even; too large becomes infinity, NaN stays a
// (quiet) NaN.
constexpr uint16_t FloatToHalf(float value) {
  constexpr uint32_t kSubnormalMagic = (127u - 15u + 23u - 10u + 1u) << 23;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits & 0x80000000u) >> 16;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half = 0;
  if (magnitude >= (127u + 16u) << 23) {
    half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (magnitude < (113u << 23)) {
    // The addition rounds to a multiple of the smallest half.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) +
                                   std::bit_cast<float>(kSubnormalMagic)) -
           kSubnormalMagic;
  } else {
    half = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(half | sign);
}

// bfloat16 to float32; exact.
constexpr float BF16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Float32 to bfloat16, rounded to nearest even; NaN stays a (quiet) NaN.
constexpr uint16_t FloatToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace softsplice
