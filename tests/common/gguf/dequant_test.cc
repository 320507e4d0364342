// Dequantisation against gguf-py's results, bit for bit.
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/gguf/file.h"
#include "common/gguf/types.h"
#include "gtest/gtest.h"

namespace softsplice::gguf {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The index of the first number that differs in any bit, -1 if none does.
int64_t FirstDifference(const std::vector<float>& have, const char* want) {
  for (size_t i = 0; i < have.size(); ++i) {
    if (std::memcmp(&have[i], want + i * sizeof(float), sizeof(float)) != 0) {
      return static_cast<int64_t>(i);
    }
  }
  return -1;
}

class DequantTest : public testing::TestWithParam<TypeInfo> {};

TEST_P(DequantTest, RandomBlocksEqualGgufPy) {
  const TypeInfo& info = GetParam();
  const std::string file = ReadAll(absl::StrCat("tests/data/quants/", info.name, ".bin"));
  ASSERT_GT(file.size(), 4u);
  uint32_t count = 0;
  std::memcpy(&count, file.data(), sizeof(count));
  const size_t block_bytes =
      count / static_cast<size_t>(info.block_elements) * static_cast<size_t>(info.block_bytes);
  ASSERT_EQ(file.size(), sizeof(count) + block_bytes + count * sizeof(float));
  std::vector<float> numbers(count);
  // From an odd address too: a block has no alignment of its own.
  Dequantize(info.type, file.data() + sizeof(count), numbers.data(), count);
  EXPECT_EQ(FirstDifference(numbers, file.data() + sizeof(count) + block_bytes), -1);
  const std::string shifted = "x" + file;
  Dequantize(info.type, shifted.data() + 1 + sizeof(count), numbers.data(), count);
  EXPECT_EQ(FirstDifference(numbers, file.data() + sizeof(count) + block_bytes), -1);
}

TEST_P(DequantTest, RowsOfAQuantisedModelEqualTheGolden) {
  const TypeInfo& info = GetParam();
  if (info.block_elements == 1) GTEST_SKIP() << "no golden rows for plain floats";
  const auto file = File::Open(absl::StrCat("tests/data/models/kquant-", info.name, ".gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string rows = ReadAll(absl::StrCat("tests/data/quants/kquant-", info.name, ".rows"));
  ASSERT_EQ(rows.size(), 2 * 256 * sizeof(float));
  int at = 0;
  for (const char* name : {"blk.1.ffn_down.weight", "token_embd.weight"}) {
    const auto tensor = (*file)->Find(name, {256, -1});
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ((*tensor)->type, info.type);
    std::vector<float> row(256);
    Dequantize(info.type, (*tensor)->data + 5 * (*tensor)->RowBytes(), row.data(), 256);
    EXPECT_EQ(FirstDifference(row, rows.data() + at), -1) << name;
    at += static_cast<int>(row.size() * sizeof(float));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, DequantTest,
                         testing::ValuesIn(AllTypes().begin(), AllTypes().end()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace softsplice::gguf
