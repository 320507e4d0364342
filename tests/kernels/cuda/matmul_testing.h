// What the tests of CUDA's matmul share: weights and rows on the device, and what their product is.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "common/gguf/half.h"
#include "gtest/gtest.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack.h"
#include "tests/kernels/cuda/testing.h"
#include "tests/kernels/test_weight.h"

namespace softsplice::cuda {

using softsplice::testing::TestWeight;

inline Weight PackedOnDevice(const TestWeight& w, Tiles tiles) {
  std::vector<uint8_t> bytes(tiles.Bytes());
  const int middle = tiles.Strips() / 2;  // strips are packed in any pieces
  PackStrips(bytes.data() + static_cast<size_t>(middle) * tiles.StripBytes(), tiles, w.tensor,
             middle, tiles.Strips());
  PackStrips(bytes.data(), tiles, w.tensor, 0, middle);
  auto memory = std::make_shared<DeviceVector<uint8_t>>(bytes);
  tiles.data = memory->data();
  return {.rows = tiles.rows,
          .cols = tiles.cols,
          .packed = std::make_shared<PackedLinear>(
              PackedLinear{tiles, std::shared_ptr<void>(memory, memory->data())})};
}
inline Weight PackedOnDevice(const TestWeight& w) { return PackedOnDevice(w, TilesFor(w.tensor)); }

// Rows of numbers on the device as float32 or bfloat16, `padding` apart: of NaN.
class DeviceRows {
 public:
  DeviceRows(int rows, int cols, DType type, int padding = 0)
      : mat_{.rows = rows, .cols = cols, .pitch = cols + padding, .type = type},
        memory_(static_cast<size_t>(rows) * static_cast<size_t>(mat_.pitch) * SizeOf(type)) {
    mat_.data = memory_.data();
  }
  // With numbers, [rows, cols].
  DeviceRows(const std::vector<float>& numbers, int cols, DType type, int padding = 0)
      : DeviceRows(static_cast<int>(numbers.size()) / cols, cols, type, padding) {
    std::vector<uint8_t> bytes(Bytes(), 0xff);
    for (size_t i = 0; i < numbers.size(); ++i) {
      const uint16_t bfloat16 = FloatToBF16(numbers[i]);
      const void* from = type == DType::kBF16 ? static_cast<const void*>(&bfloat16) : &numbers[i];
      std::memcpy(&bytes[Offset(i)], from, SizeOf(type));
    }
    EXPECT_EQ(
        cudaMemcpyAsync(mat_.data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, nullptr),
        cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  }

  const Mat& mat() const { return mat_; }
  // The numbers, [rows, cols]; fails where something was written between rows.
  std::vector<float> Read() const {
    const std::vector<uint8_t> bytes = memory_.Read();
    std::vector<float> numbers(static_cast<size_t>(mat_.rows) * static_cast<size_t>(mat_.cols));
    std::vector<uint8_t> guards = bytes;
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (mat_.type == DType::kBF16) {
        uint16_t bfloat16;
        std::memcpy(&bfloat16, &bytes[Offset(i)], sizeof(bfloat16));
        numbers[i] = BF16ToFloat(bfloat16);
      } else {
        std::memcpy(&numbers[i], &bytes[Offset(i)], sizeof(float));
      }
      std::memset(&guards[Offset(i)], 0xff, SizeOf(mat_.type));
    }
    EXPECT_EQ(guards, std::vector<uint8_t>(Bytes(), 0xff)) << "written between rows";
    return numbers;
  }

 private:
  size_t Offset(size_t number) const {
    const size_t cols = static_cast<size_t>(mat_.cols);
    return (number / cols * static_cast<size_t>(mat_.pitch) + number % cols) * SizeOf(mat_.type);
  }
  size_t Bytes() const {
    return static_cast<size_t>(mat_.rows) * static_cast<size_t>(mat_.pitch) * SizeOf(mat_.type);
  }

  Mat mat_;
  DeviceVector<uint8_t> memory_;
};

inline std::vector<float> Normals(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& v : numbers) v = normal(random);
  return numbers;
}

// Output `out` of one row, and how far it may be off.
struct Expected {
  double sum = 0;
  double bound = 0;
};
inline Expected Oracle(const float* x, const TestWeight& w, int out, bool exact) {
  const int cols = static_cast<int>(w.tensor.Cols());
  const float* weights = &w.values[static_cast<size_t>(out) * static_cast<size_t>(cols)];
  const bool has_min = SpecOf(TilesFor(w.tensor).format).HasMin();
  Expected expected;
  double magnitude = 0;
  constexpr int kGroup = 32;
  for (int first = 0; first < cols; first += kGroup) {
    double most = 0, sum_of_x = 0;
    for (int k = first; k < std::min(cols, first + kGroup); ++k) {
      const double number = exact ? x[k] : BF16ToFloat(FloatToBF16(x[k]));
      const double product = number * weights[k];
      expected.sum += product;
      most = std::max(most, std::fabs(static_cast<double>(weights[k])));
      sum_of_x += std::fabs(number);
      if (!has_min) magnitude += std::fabs(product);
      // Two bfloat16 parts keep 2^-17 of a number.
      if (exact) expected.bound += 0x1p-17 * std::fabs(product);
      if (w.tensor.type == gguf::Type::kF32) expected.bound += 0x1p-17 * std::fabs(product);
    }
    // The scaled code and the minimum may be larger than their difference.
    if (has_min) magnitude += 4 * most * sum_of_x;
  }
  // Each of the additions: a device may cut off what a rounded sum would keep half of.
  expected.bound += (cols + 16) * 0x1p-23 * magnitude;
  return expected;
}

}  // namespace softsplice::cuda
