// Look-ups in tables of every type against its dequantisation, to the bit.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/gguf/types.h"
#include "tests/kernels/matmul_testing.h"
#include "tests/kernels/testing.h"

namespace softsplice::testing {
namespace {

constexpr int kRows = 5;
constexpr int kCols = 512;  // two blocks of the largest types

class TableTest : public BackendTest {
 protected:
  void Compare(Type type) {
    const TestWeight weight(type, kRows, kCols, random_);
    const std::vector<int> ids = {3, 0, 4, 3};
    Device on(*backend_);
    const Weight& table = on.Pack(weight.tensor, Use::kTable);
    const Mat y = on.New(4, kCols, 1);
    on->Embed(y, on.Ints(ids), table, 1.5f);
    const HostMat embedded = *on.Read(y);
    on->AddEmbedding(y, on.Ints(ids), table);
    const HostMat sums = *on.Read(y);
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < kCols; ++c) {
        const float value = weight.values[static_cast<size_t>(ids[static_cast<size_t>(r)]) * kCols +
                                          static_cast<size_t>(c)];
        ASSERT_EQ(embedded(r, c), 1.5f * value) << Name(type) << " column " << c;
        ASSERT_EQ(sums(r, c), embedded(r, c) + value) << Name(type) << " column " << c;
      }
    }
  }
};

TEST_P(TableTest, EmbedsFromEveryType) {
  for (const gguf::TypeInfo& info : gguf::AllTypes()) Compare(info.type);
}

INSTANTIATE_TEST_SUITE_P(All, TableTest, ::testing::ValuesIn(Candidates()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace softsplice::testing
