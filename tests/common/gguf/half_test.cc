#include "common/gguf/half.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace softsplice {
namespace {

// The definition of binary16, for finite numbers.
double Value(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

bool IsSpecial(uint16_t half) { return ((half >> 10) & 31) == 31; }

TEST(HalfTest, EveryHalfHasItsValueAndComesBack) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto half = static_cast<uint16_t>(i);
    const float value = HalfToFloat(half);
    if (IsSpecial(half) && (half & 1023) != 0) {
      ASSERT_TRUE(std::isnan(value)) << i;
      ASSERT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value)))) << i;
      continue;
    }
    if (IsSpecial(half)) {
      ASSERT_EQ(value, (half & 0x8000) != 0 ? -INFINITY : INFINITY);
    } else {
      ASSERT_EQ(static_cast<double>(value), Value(half)) << i;
    }
    ASSERT_EQ(std::signbit(value), (half & 0x8000) != 0) << i;
    ASSERT_EQ(FloatToHalf(value), half) << i;
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  // Between every two neighbours: the middle goes to the even one, a step beside it to the nearer.
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const auto low = HalfToFloat(half);
    const auto high = HalfToFloat(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;  // exact
    const auto even = static_cast<uint16_t>(half % 2 == 0 ? half : half + 1);
    ASSERT_EQ(FloatToHalf(middle), even) << half;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), half) << half;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, INFINITY)), half + 1) << half;
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000) << half;
  }
}

TEST(HalfTest, TooLargeBecomesInfinityTooSmallZero) {
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(1e30f), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e30f), 0xfc00);
  EXPECT_EQ(FloatToHalf(std::ldexp(1.0f, -25)), 0x0000);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::denorm_min()), 0x8000);
}

TEST(BF16Test, RoundsToNearestEvenAndComesBack) {
  EXPECT_EQ(BF16ToFloat(0x3f80), 1.0f);
  EXPECT_EQ(FloatToBF16(1.0f + std::ldexp(1.0f, -8)), 0x3f80);      // the middle, even below
  EXPECT_EQ(FloatToBF16(1.0f + 3 * std::ldexp(1.0f, -8)), 0x3f82);  // the middle, even above
  EXPECT_EQ(FloatToBF16(1.0f + std::ldexp(1.0f, -8) + 1e-6f), 0x3f81);
  EXPECT_EQ(FloatToBF16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_TRUE(std::isnan(BF16ToFloat(FloatToBF16(NAN))));
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const float value = BF16ToFloat(static_cast<uint16_t>(i));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToBF16(value), i);
  }
}

}  // namespace
}  // namespace softsplice
