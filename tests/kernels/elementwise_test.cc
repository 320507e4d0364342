// Every op that works row by row, on every backend, against the oracle: odd sizes, tails, padding.
#include <algorithm>
#include <numeric>

#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::ExpectNear;
using testing::FloatTensor;
using testing::HostMat;
using testing::kEps;

class ElementwiseTest : public BackendTest {
 protected:
  // Runs `op(backend, matrix)` on copies of the same matrix, for many shapes.
  template <class Op>
  void CompareShapes(float scale, float relative, float absolute, Op op) {
    for (int cols = 1; cols <= 70; ++cols) {
      for (const int rows : {1, 2, 9}) Compare(rows, cols, scale, relative, absolute, op);
    }
    // Large enough to be cut between rows and, with fewer rows than threads, between columns.
    Compare(40, 1031, scale, relative, absolute, op);
    Compare(1, 40003, scale, relative, absolute, op);
  }
  template <class Op>
  void Compare(int rows, int cols, float scale, float relative, float absolute, Op op) {
    HostMat want = HostMat::Normal(random_, rows, cols, 3, scale);
    HostMat got = want;
    HostMat other = HostMat::Normal(random_, rows, cols, 1);
    op(*ref_, want.view(), other.view());
    op(*cpu_, got.view(), other.view());
    ExpectNear(got, want, relative, absolute, std::to_string(rows) + "x" + std::to_string(cols));
  }
};

TEST_P(ElementwiseTest, Add) {
  CompareShapes(1, 0, 0, [](Backend& b, Mat x, Mat other) { b.Add(x, other); });
}

TEST_P(ElementwiseTest, Scale) {
  CompareShapes(1, 0, 0, [](Backend& b, Mat x, Mat) { b.Scale(x, 0.37f); });
}

TEST_P(ElementwiseTest, ScaleByWeight) {
  HostMat factor(1, 1);
  factor(0, 0) = -1.75f;
  for (Backend* b : {ref_.get(), cpu_.get()}) {
    const Weight w = *b->Pack(FloatTensor(factor), Use::kVector);
    HostMat x = HostMat::Normal(random_, 2, 5);
    HostMat want = x;
    b->Scale(x.view(), w);
    for (int c = 0; c < 5; ++c) EXPECT_EQ(x(1, c), want(1, c) * -1.75f);
  }
}

// Two implementations of tanh and exp, each within 4 ulp, and two more roundings.
TEST_P(ElementwiseTest, Softcap) {
  for (const float scale : {0.01f, 10.0f, 300.0f}) {
    CompareShapes(scale, 10 * kEps, 0, [](Backend& b, Mat x, Mat) { b.Softcap(x, 30); });
  }
}

// The oracle forms 1 + tanh, which cancels for negative x: an error of a few eps of 1, times x up
// to 12 here.
TEST_P(ElementwiseTest, GeluTanh) {
  CompareShapes(3, 20 * kEps, 40 * kEps,
                [](Backend& b, Mat x, Mat up) { b.GeluMul(x, up, Gelu::kTanh); });
}

// e^(-1.702 x) with |1.702 x| up to 20 turns the rounding of its argument into 10 eps.
TEST_P(ElementwiseTest, GeluQuick) {
  CompareShapes(3, 30 * kEps, 0, [](Backend& b, Mat x, Mat up) { b.GeluMul(x, up, Gelu::kQuick); });
}

TEST_P(ElementwiseTest, GeluOfLargeValues) {
  HostMat gate(1, 6);
  const float values[] = {-1e30f, -200, -90, 90, 200, 1e12f};
  for (int c = 0; c < 6; ++c) gate(0, c) = values[c];
  HostMat up(1, 6);
  for (int c = 0; c < 6; ++c) up(0, c) = 2;
  for (const Gelu gelu : {Gelu::kTanh, Gelu::kQuick}) {
    HostMat got = gate;
    cpu_->GeluMul(got.view(), up.view(), gelu);
    // The true values are below 1e-36 for -90 and -200.
    for (int c = 1; c < 3; ++c) EXPECT_NEAR(got(0, c), 0, 1e-30);
    for (int c = 3; c < 6; ++c) EXPECT_FLOAT_EQ(got(0, c), 2 * values[c]);
    EXPECT_TRUE(std::isfinite(got(0, 0)));
  }
}

TEST_P(ElementwiseTest, Relu) {
  CompareShapes(1, 0, 0, [](Backend& b, Mat x, Mat) { b.Relu(x); });
}

// Two implementations of e^x, each within 4 ulp, and three more roundings.
TEST_P(ElementwiseTest, Silu) {
  for (const float scale : {0.01f, 3.0f, 20.0f}) {
    CompareShapes(scale, 12 * kEps, 1e-30f, [](Backend& b, Mat x, Mat) { b.Silu(x); });
  }
}

// Activations keep what is not a number: the services refuse such results.
TEST_P(ElementwiseTest, ActivationsKeepNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (Backend* b : {ref_.get(), cpu_.get()}) {
    for (const int c : {0, 18}) {
      HostMat x = HostMat::Normal(random_, 1, 19);
      x(0, c) = nan;
      HostMat up = HostMat::Normal(random_, 1, 19);
      const std::vector<std::function<void(Mat)>> ops = {
          [&](Mat m) { b->Relu(m); }, [&](Mat m) { b->Silu(m); }, [&](Mat m) { b->Softcap(m, 30); },
          [&](Mat m) { b->GeluMul(m, up.view(), Gelu::kTanh); },
          [&](Mat m) { b->GeluMul(m, up.view(), Gelu::kQuick); }};
      for (size_t i = 0; i < ops.size(); ++i) {
        HostMat y = x;
        ops[i](y.view());
        EXPECT_TRUE(std::isnan(y(0, c))) << b->Name() << " op " << i;
        EXPECT_FALSE(std::isnan(y(0, 5))) << b->Name() << " op " << i;
      }
    }
  }
}

TEST_P(ElementwiseTest, Glu) {
  for (int cols = 1; cols <= 70; ++cols) {
    for (const int rows : {1, 9, 40}) {
      HostMat x = HostMat::Normal(random_, rows, 2 * cols, 3, 4);
      HostMat want(rows, cols, 2);
      HostMat got(rows, cols, 2);
      ref_->Glu(want.view(), x.view());
      cpu_->Glu(got.view(), x.view());
      ExpectNear(got, want, 12 * kEps, 0, std::to_string(cols));
    }
  }
}

TEST_P(ElementwiseTest, AddAndMultiplyVectors) {
  for (int n = 1; n <= 70; ++n) {
    for (const int times : {1, 3}) {
      HostMat vector = HostMat::Normal(random_, 1, n);
      HostMat whole = HostMat::Normal(random_, 1, n * times);
      HostMat want = HostMat::Normal(random_, 9, n * times, 2);
      HostMat got = want;
      for (auto [b, x] : {std::pair<Backend*, HostMat*>{ref_.get(), &want}, {cpu_.get(), &got}}) {
        b->MulVector(x->view(), *b->Pack(FloatTensor(vector), Use::kVector));
        b->AddVector(x->view(), *b->Pack(FloatTensor(whole), Use::kVector));
      }
      ExpectNear(got, want, 0, 0, std::to_string(n) + " x " + std::to_string(times));
    }
  }
}

// The sums for the mean and for the variance, in any order, are each within about sqrt(n) eps of
// the values; with this eps, and with so many columns, they are magnified at most twice.
TEST_P(ElementwiseTest, LayerNorm) {
  const auto compare = [&](int rows, int cols, float eps, float offset) {
    HostMat x = HostMat::Normal(random_, rows, cols, 2);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) x(r, c) += offset;
    }
    HostMat gain = HostMat::Normal(random_, 1, cols);
    HostMat want(rows, cols, 3);
    ref_->LayerNorm(want.view(), x.view(), *ref_->Pack(FloatTensor(gain), Use::kVector), eps);
    HostMat got = x;
    cpu_->LayerNorm(got.view(), got.view(), *cpu_->Pack(FloatTensor(gain), Use::kVector), eps);
    const float most = (6 + std::fabs(offset)) * 6;  // of x, and of the gain
    const float bound = 2 * (6 + std::sqrt(static_cast<float>(cols))) * kEps;
    ExpectNear(got, want, bound, bound * most, std::to_string(cols) + " columns");
  };
  for (int cols = 1; cols <= 70; ++cols) compare(5, cols, 1, 0);
  for (const int cols : {32, 37, 128, 1024}) {
    for (const float offset : {0.0f, 100.0f}) compare(40, cols, 1e-6f, offset);
  }
}

// A sum of n squares in any order is within about sqrt(n) eps; the root halves that.
TEST_P(ElementwiseTest, RmsNorm) {
  for (int group = 1; group <= 70; ++group) {
    for (const int groups : {1, 3}) {
      const int cols = group * groups;
      HostMat x = HostMat::Normal(random_, 4, cols, 2);
      HostMat gain = HostMat::Normal(random_, 1, group);
      for (const bool with_gain : {false, true}) {
        HostMat want(4, cols, 5);
        HostMat got(4, cols, 5);
        const Weight ref_gain = *ref_->Pack(FloatTensor(gain), Use::kVector);
        const Weight cpu_gain = *cpu_->Pack(FloatTensor(gain), Use::kVector);
        const int width = groups == 1 ? 0 : group;
        ref_->RmsNorm(want.view(), x.view(), with_gain ? &ref_gain : nullptr, 1e-6f, width);
        cpu_->RmsNorm(got.view(), x.view(), with_gain ? &cpu_gain : nullptr, 1e-6f, width);
        const float bound = (6 + std::sqrt(static_cast<float>(group))) * kEps;
        ExpectNear(got, want, bound, 0, "group of " + std::to_string(group));
      }
    }
  }
}

TEST_P(ElementwiseTest, RmsNormInPlaceOfWideRows) {
  HostMat want = HostMat::Normal(random_, 37, 2560);
  HostMat got = want;
  ref_->RmsNorm(want.view(), want.view(), nullptr, 1e-6f, 0);
  cpu_->RmsNorm(got.view(), got.view(), nullptr, 1e-6f, 0);
  ExpectNear(got, want, (6 + std::sqrt(2560.0f)) * kEps, 0, "2560");
}

TEST_P(ElementwiseTest, AddNormIsItsDefinition) {
  for (const int cols : {1, 7, 16, 33, 70, 2560}) {
    HostMat gain = HostMat::Normal(random_, 1, cols);
    HostMat h = HostMat::Normal(random_, 9, cols, 1);
    HostMat want = HostMat::Normal(random_, 9, cols, 2);
    HostMat got = want;
    HostMat h_copy = h;
    const Weight w = *cpu_->Pack(FloatTensor(gain), Use::kVector);
    cpu_->Backend::AddNorm(want.view(), h_copy.view(), w, 1e-6f);
    cpu_->AddNorm(got.view(), h.view(), w, 1e-6f);
    // The fused form skips one rounding of the product, which is below 16 here.
    ExpectNear(got, want, kEps, 16 * kEps, std::to_string(cols));
  }
}

class RopeTest : public BackendTest {
 protected:
  // Both round the angle alike, so only sine and cosine (2 ulp of 1) and the two products differ.
  void Compare(RopeSpec spec, int heads, const std::vector<int>& positions, HostMat* factors) {
    HostMat want =
        HostMat::Normal(random_, static_cast<int>(positions.size()), heads * spec.head_dim, 3);
    HostMat got = want;
    HostMat at = HostMat::Ints(positions);
    Weight ref_factors;
    Weight cpu_factors;
    if (factors != nullptr) {
      ref_factors = *ref_->Pack(FloatTensor(*factors), Use::kVector);
      cpu_factors = *cpu_->Pack(FloatTensor(*factors), Use::kVector);
    }
    spec.factors = factors == nullptr ? nullptr : &ref_factors;
    ref_->Rope(want.view(), at.view(), spec);
    spec.factors = factors == nullptr ? nullptr : &cpu_factors;
    cpu_->Rope(got.view(), at.view(), spec);
    ExpectNear(got, want, 0, 5 * 4 * kEps, "dim " + std::to_string(spec.head_dim));
  }
};

TEST_P(RopeTest, HeadsAndTails) {
  for (int half = 1; half <= 35; ++half) {
    Compare({.head_dim = 2 * half, .count = 2 * half}, 3, {0, 1, 5, 131071, 77}, nullptr);
  }
  Compare({.head_dim = 256, .count = 256}, 8, {0, 511, 4096, 65537, 131071}, nullptr);
  Compare({.head_dim = 512, .count = 512, .base = 1e6f}, 2, {3, 131071}, nullptr);
}

TEST_P(RopeTest, PartOfAHead) {
  Compare({.head_dim = 64, .first = 0, .count = 32, .base = 100}, 12, {0, 3, 200}, nullptr);
  Compare({.head_dim = 64, .first = 32, .count = 32, .base = 100}, 12, {0, 3, 200}, nullptr);
  Compare({.head_dim = 20, .first = 6, .count = 10}, 2, {9}, nullptr);
}

TEST_P(RopeTest, FactorsStopRotation) {
  HostMat factors(1, 256);
  for (int i = 0; i < 256; ++i) factors(0, i) = i < 64 ? 1 : 1e30f;
  Compare({.head_dim = 512, .count = 512, .base = 1e6f}, 2, {0, 1000, 100000}, &factors);
  HostMat x = HostMat::Normal(random_, 1, 512);
  HostMat before = x;
  HostMat at = HostMat::Ints({100000});
  const Weight w = *cpu_->Pack(FloatTensor(factors), Use::kVector);
  cpu_->Rope(x.view(), at.view(), {.head_dim = 512, .count = 512, .base = 1e6f, .factors = &w});
  EXPECT_NE(x(0, 1), before(0, 1));
  for (int i = 64; i < 256; ++i) EXPECT_EQ(x(0, i), before(0, i));
}

class RowsTest : public BackendTest {};

TEST_P(RowsTest, EmbedFromFloatAndQuantisedTables) {
  // 96 columns are whole blocks of Q8_0 (32 codes and a half scale); scales of 2^-4 and codes.
  constexpr int kRows = 11;
  std::vector<uint8_t> bytes;
  for (int block = 0; block < kRows * 3; ++block) {
    const uint16_t scale = FloatToHalf(0.0625f);
    bytes.push_back(static_cast<uint8_t>(scale & 0xff));
    bytes.push_back(static_cast<uint8_t>(scale >> 8));
    for (int i = 0; i < 32; ++i) bytes.push_back(static_cast<uint8_t>(random_()));
  }
  const gguf::Tensor tensor = testing::TensorOf(gguf::Type::kQ8_0, {96, kRows}, bytes);
  HostMat ids = HostMat::Ints({3, 0, 10, 3});
  for (Backend* b : {ref_.get(), cpu_.get()}) {
    const Weight table = *b->Pack(tensor, Use::kTable);
    ASSERT_EQ(table.rows, kRows);
    ASSERT_EQ(table.cols, 96);
    HostMat y(4, 96, 2);
    b->Embed(y.view(), ids.view(), table, 3);
    HostMat sum = y;
    b->AddEmbedding(sum.view(), ids.view(), table);
    const int rows[] = {3, 0, 10, 3};
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 96; ++c) {
        const size_t at = static_cast<size_t>((rows[r] * 3 + c / 32) * 34 + 2 + c % 32);
        const float value = static_cast<float>(static_cast<int8_t>(bytes[at])) * 0.0625f;
        ASSERT_EQ(y(r, c), 3 * value);
        ASSERT_EQ(sum(r, c), 4 * value);
      }
    }
    EXPECT_TRUE(y.GuardsIntact() && sum.GuardsIntact());
  }
}

// The file may change after it was read.
TEST_P(RowsTest, SmallTablesAreCopied) {
  HostMat numbers = HostMat::Normal(random_, 5, 30);
  HostMat want = numbers;
  HostMat ids = HostMat::Ints({4});
  for (Backend* b : {ref_.get(), cpu_.get()}) {
    HostMat file = numbers;
    const Weight table = *b->Pack(FloatTensor(file), Use::kTable);
    for (int c = 0; c < 30; ++c) file(4, c) = 0;
    HostMat y(1, 30);
    b->Embed(y.view(), ids.view(), table, 1);
    for (int c = 0; c < 30; ++c) EXPECT_EQ(y(0, c), want(4, c));
  }
}

TEST_P(RowsTest, GatherAndScatter) {
  HostMat x = HostMat::Normal(random_, 40, 1000, 1);
  std::vector<int> order(40);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  HostMat index = HostMat::Ints(order);
  HostMat gathered(40, 1000, 2);
  HostMat back(40, 1000, 3);
  cpu_->GatherRows(gathered.view(), x.view(), index.view());
  cpu_->ScatterRows(back.view(), gathered.view(), index.view());
  for (int r = 0; r < 40; ++r) EXPECT_EQ(gathered(r, 7), x(order[static_cast<size_t>(r)], 7));
  ExpectNear(back, x, 0, 0, "scatter of gather");
}

TEST_P(RowsTest, UploadAndDownload) {
  std::vector<float> dense(7 * 5);
  std::iota(dense.begin(), dense.end(), 0.0f);
  HostMat x(7, 5, 4);
  cpu_->Upload(x.view(), dense.data());
  EXPECT_EQ(x(6, 4), 34);
  std::vector<float> back(7 * 5);
  cpu_->Download(back.data(), x.view());
  EXPECT_TRUE(cpu_->Wait().ok());
  EXPECT_EQ(back, dense);
  EXPECT_TRUE(x.GuardsIntact());
}

// Sums of nine in either order.
TEST_P(RowsTest, AveragePool) {
  for (const int cols : {1, 17, 70, 768}) {
    HostMat x = HostMat::Normal(random_, 12 * 9, cols, 1);
    HostMat want(4 * 3, cols, 2);
    HostMat got(4 * 3, cols, 2);
    ref_->AveragePool(want.view(), x.view(), 9, 3);
    cpu_->AveragePool(got.view(), x.view(), 9, 3);
    ExpectNear(got, want, 0, 9 * 4 * kEps, std::to_string(cols));
  }
}

TEST_P(RowsTest, AllocationsAreZeroAndAligned) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{5} << 20}) {
    const auto memory = *cpu_->Allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % 256, 0u);
    const auto* at = static_cast<const uint8_t*>(memory.get());
    EXPECT_TRUE(std::all_of(at, at + bytes, [](uint8_t b) { return b == 0; }));
  }
  EXPECT_EQ(cpu_->Allocate(size_t{1} << 62).status().code(), absl::StatusCode::kResourceExhausted);
}

INSTANTIATE_TEST_SUITE_P(All, ElementwiseTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);
INSTANTIATE_TEST_SUITE_P(All, RopeTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);
INSTANTIATE_TEST_SUITE_P(All, RowsTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
