#include "tests/kernels/matmul_testing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/gguf/half.h"

namespace softsplice::testing {
namespace {

constexpr double kHalfUlp = 0x1p-24;  // of 1.0f
constexpr int kBlock = 32;            // inputs with a scale of their own

// Where a block keeps its half-precision numbers.
std::vector<size_t> HalfOffsets(Type type) {
  switch (type) {
    case Type::kQ4_1:
    case Type::kQ5_1:
    case Type::kQ4_K:
    case Type::kQ5_K:
      return {0, 2};
    case Type::kQ2_K:
      return {80, 82};
    case Type::kQ3_K:
      return {108};
    case Type::kQ6_K:
      return {208};
    default:
      return {0};
  }
}

void FillBlocks(Type type, std::vector<uint8_t>& bytes, std::mt19937& random) {
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  const size_t step = static_cast<size_t>(gguf::Info(type).block_bytes);
  std::uniform_real_distribution<float> scale(-0.02f, 0.02f);
  for (size_t block = 0; block < bytes.size(); block += step) {
    for (const size_t offset : HalfOffsets(type)) {
      const uint16_t half = FloatToHalf(scale(random));
      std::memcpy(&bytes[block + offset], &half, sizeof half);
    }
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

HostMat Codes(std::mt19937& random, int rows, int cols, int padding) {
  HostMat mat(rows, cols, padding);
  for (int r = 0; r < rows; ++r) {
    std::generate_n(mat[r], cols, [&] { return static_cast<float>(random() % 255) - 127; });
    for (int c = 0; c < cols; c += kBlock) mat(r, c + static_cast<int>(random() % kBlock)) = 127;
  }
  return mat;
}

Expected Oracle(const float* x, const TestWeight& w, int out, Arithmetic arithmetic) {
  const int cols = static_cast<int>(w.tensor.Cols());
  const float* weights = &w.values[static_cast<size_t>(out) * static_cast<size_t>(cols)];
  Expected expected;
  double magnitude = 0;
  for (int b = 0; b < cols; b += kBlock) {
    double most_x = 0, most_w = 0, sum_x = 0, sum_w = 0;
    for (int k = b; k < std::min(cols, b + kBlock); ++k) {
      const double in = x[k], weight = weights[k];
      expected.sum += in * weight;
      if (arithmetic == Arithmetic::kFloat) magnitude += std::fabs(in * weight);
      most_x = std::max(most_x, std::fabs(in));
      most_w = std::max(most_w, std::fabs(weight));
      sum_x += std::fabs(in);
      sum_w += std::fabs(weight);
    }
    if (arithmetic != Arithmetic::kFloat) magnitude += 4 * most_w * sum_x;
    if (arithmetic == Arithmetic::kQuantised) expected.bound += sum_w * most_x / 254;
  }
  // Each of the additions and a few conversions, however they are ordered.
  expected.bound += (cols + 8) * kHalfUlp * magnitude;
  return expected;
}

}  // namespace softsplice::testing
