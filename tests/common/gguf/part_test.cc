// Parts of matrices of every type hold the numbers that the whole has there.
#include "common/gguf/part.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/kernels/test_weight.h"

namespace softsplice::gguf {
namespace {

using softsplice::testing::TestWeight;

std::vector<float> Numbers(const Tensor& tensor) {
  std::vector<float> numbers(static_cast<size_t>(tensor.Elements()));
  Dequantize(tensor.type, tensor.data, numbers.data(), tensor.Elements());
  return numbers;
}

class PartTest : public ::testing::TestWithParam<Type> {};

TEST_P(PartTest, HasItsNumbers) {
  const int rows = 12, cols = 1024;
  std::mt19937 random(1);
  const TestWeight whole(GetParam(), rows, cols, random);
  for (const int parts : {1, 2, 4}) {
    for (int index = 0; index < parts; ++index) {
      const TensorPart of_rows = *PartOf(whole.tensor, Split::kRows, index, parts);
      const TensorPart of_columns = *PartOf(whole.tensor, Split::kColumns, index, parts);
      EXPECT_EQ(of_rows.tensor.dims, (std::vector<int64_t>{cols, rows / parts}));
      EXPECT_EQ(of_columns.tensor.dims, (std::vector<int64_t>{cols / parts, rows}));
      const std::vector<float> some_rows = Numbers(of_rows.tensor);
      const std::vector<float> some_columns = Numbers(of_columns.tensor);
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < cols; ++c) {
          const float expected = whole.values[static_cast<size_t>(r * cols + c)];
          if (r / (rows / parts) == index) {
            const int at = (r - index * (rows / parts)) * cols + c;
            ASSERT_EQ(some_rows[static_cast<size_t>(at)], expected);
          }
          if (c / (cols / parts) == index) {
            const int at = r * (cols / parts) + c - index * (cols / parts);
            ASSERT_EQ(some_columns[static_cast<size_t>(at)], expected);
          }
        }
      }
    }
  }
  EXPECT_EQ(PartOf(whole.tensor, Split::kNone, 1, 2)->tensor.data, whole.tensor.data);
  EXPECT_FALSE(PartOf(whole.tensor, Split::kRows, 0, 5).ok());
  EXPECT_FALSE(PartOf(whole.tensor, Split::kColumns, 0, 3).ok());
  EXPECT_EQ(PartOf(whole.tensor, Split::kColumns, 0, 64).ok(),
            Info(GetParam()).block_elements <= 16);
}

INSTANTIATE_TEST_SUITE_P(Floats, PartTest, ::testing::ValuesIn(testing::kFloatTypes));
INSTANTIATE_TEST_SUITE_P(Quants, PartTest, ::testing::ValuesIn(testing::kQuantTypes));

}  // namespace
}  // namespace softsplice::gguf
