// Blocks taken apart are, by the formula of quant_blocks.h, bit for bit what common/gguf's own
// reading gives.
#include "kernels/quant_decode.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/kernels/test_weight.h"

namespace softsplice::testing {
namespace {

float ValueOf(const QuantBlock& block, int i) {
  const int half = i / (kBlock / 2);
  const float value = block.d * static_cast<float>(block.scale[half]) *
                      static_cast<float>(block.code[i] - block.offset);
  return value - block.dmin * static_cast<float>(block.min[half]);
}

TEST(QuantDecodeTest, AgreesWithDequantization) {
  std::mt19937 random(11);
  for (const Type type : kQuantTypes) {
    const TestWeight w(type, 1, 3 * kSuperBlock, random);
    for (int index = 0; index < 3 * kSuperBlock / kBlock; ++index) {
      QuantBlock block;
      DecoderOf(type)(w.bytes.data(), index, &block);
      for (int i = 0; i < kBlock; ++i) {
        ASSERT_EQ(ValueOf(block, i), w.values[static_cast<size_t>(index * kBlock + i)])
            << Name(type) << " " << index << " " << i;
      }
    }
  }
}

TEST(QuantDecodeTest, FloatsHaveNoBlocks) {
  for (const Type type : kFloatTypes) EXPECT_EQ(DecoderOf(type), nullptr);
}

}  // namespace
}  // namespace softsplice::testing
