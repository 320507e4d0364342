#include "tests/kernels/test_weight.h"

#include <algorithm>
#include <cstring>

#include "common/gguf/half.h"
#include "tests/support/half_numbers.h"

namespace softsplice::testing {
namespace {

void FillBlocks(Type type, std::vector<uint8_t>& bytes, std::mt19937& random) {
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  const size_t step = static_cast<size_t>(gguf::Info(type).block_bytes);
  std::uniform_real_distribution<float> scale(-0.02f, 0.02f);
  const HalfNumbers halves = HalfNumbersOf(type);
  const auto put = [&](size_t at) {
    const uint16_t half = FloatToHalf(scale(random));
    std::memcpy(&bytes[at], &half, sizeof half);
  };
  for (size_t block = 0; block < bytes.size(); block += step) {
    put(block + halves.scale);
    if (halves.centre != 0) put(block + halves.minimum);
  }
}

void FillFloats(Type type, std::vector<uint8_t>& bytes, std::mt19937& random) {
  const size_t size = type == Type::kF32 ? 4 : 2;
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < bytes.size(); i += size) {
    const float value = normal(random);
    const uint16_t half = FloatToHalf(value);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (type == Type::kBF16) bits >>= 16;
    std::memcpy(&bytes[i], type == Type::kF16 ? static_cast<const void*>(&half) : &bits, size);
  }
}

}  // namespace

bool IsFloat(Type type) {
  return std::find(std::begin(kFloatTypes), std::end(kFloatTypes), type) != std::end(kFloatTypes);
}

std::string Name(Type type) {
  const absl::string_view name = gguf::Info(type).name;
  return {name.begin(), name.end()};
}

TestWeight::TestWeight(Type type, int outs, int cols, std::mt19937& random) {
  const gguf::TypeInfo& info = gguf::Info(type);
  const size_t count = static_cast<size_t>(outs) * static_cast<size_t>(cols);
  bytes.resize(count / static_cast<size_t>(info.block_elements) *
               static_cast<size_t>(info.block_bytes));
  if (IsFloat(type)) {
    FillFloats(type, bytes, random);
  } else {
    FillBlocks(type, bytes, random);
  }
  values.resize(count);
  gguf::Dequantize(type, bytes.data(), values.data(), static_cast<int64_t>(count));
  tensor = {
      .name = "w", .type = type, .dims = {cols, outs}, .data = bytes.data(), .bytes = bytes.size()};
}

}  // namespace softsplice::testing
