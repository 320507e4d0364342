// Every op that works row by row, on every backend, against the oracle: odd sizes, tails, padding.
#include <algorithm>
#include <numeric>

#include "common/gguf/half.h"
#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::Device;
using testing::ExpectNear;
using testing::FloatTensor;
using testing::HostMat;
using testing::kEps;
using testing::RunOn;

// One op of a backend on a matrix, in place, with another of the same shape.
using Op = absl::FunctionRef<void(Backend& b, Mat x, Mat other)>;

class ElementwiseTest : public BackendTest {
 protected:
  // Runs `op` on the same matrices of many shapes.
  void CompareShapes(float scale, float relative, float absolute, Op op) {
    for (int cols = 1; cols <= 70; ++cols) {
      for (const int rows : {1, 2, 9}) Compare(rows, cols, scale, relative, absolute, op);
    }
    // Large enough to be cut between rows and, with fewer rows than threads, between columns.
    Compare(40, 1031, scale, relative, absolute, op);
    Compare(1, 40003, scale, relative, absolute, op);
  }
  void Compare(int rows, int cols, float scale, float relative, float absolute, Op op) {
    const HostMat x = HostMat::Normal(random_, rows, cols, 3, scale);
    const HostMat other = HostMat::Normal(random_, rows, cols, 1);
    ExpectLikeRef(relative, absolute, std::to_string(rows) + "x" + std::to_string(cols),
                  [&](Device& on) {
                    const Mat y = on.Copy(x);
                    op(*on, y, on.Copy(other));
                    return y;
                  });
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
  const HostMat x = HostMat::Normal(random_, 2, 5);
  for (Backend* b : Both()) {
    const HostMat y = RunOn(*b, [&](Device& on) {
      const Mat at = on.Copy(x);
      on->Scale(at, on.Vector(factor));
      return at;
    });
    for (int c = 0; c < 5; ++c) EXPECT_EQ(y(1, c), x(1, c) * -1.75f);
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
    const HostMat got = RunOn(*backend_, [&](Device& on) {
      const Mat x = on.Copy(gate);
      on->GeluMul(x, on.Copy(up), gelu);
      return x;
    });
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
  const std::vector<std::function<void(Backend&, Mat, Mat)>> ops = {
      [](Backend& b, Mat x, Mat) { b.Relu(x); }, [](Backend& b, Mat x, Mat) { b.Silu(x); },
      [](Backend& b, Mat x, Mat) { b.Softcap(x, 30); },
      [](Backend& b, Mat x, Mat up) { b.GeluMul(x, up, Gelu::kTanh); },
      [](Backend& b, Mat x, Mat up) { b.GeluMul(x, up, Gelu::kQuick); }};
  const HostMat up = HostMat::Normal(random_, 1, 19);
  for (Backend* b : Both()) {
    for (const int c : {0, 18}) {
      HostMat x = HostMat::Normal(random_, 1, 19);
      x(0, c) = nan;
      for (size_t i = 0; i < ops.size(); ++i) {
        const HostMat y = RunOn(*b, [&](Device& on) {
          const Mat at = on.Copy(x);
          ops[i](*on, at, on.Copy(up));
          return at;
        });
        EXPECT_TRUE(std::isnan(y(0, c))) << b->Name() << " op " << i;
        EXPECT_FALSE(std::isnan(y(0, 5))) << b->Name() << " op " << i;
      }
    }
  }
}

TEST_P(ElementwiseTest, Glu) {
  for (int cols = 1; cols <= 70; ++cols) {
    for (const int rows : {1, 9, 40}) {
      const HostMat x = HostMat::Normal(random_, rows, 2 * cols, 3, 4);
      ExpectLikeRef(12 * kEps, 0, std::to_string(cols), [&](Device& on) {
        const Mat y = on.New(rows, cols, 2);
        on->Glu(y, on.Copy(x));
        return y;
      });
    }
  }
}

TEST_P(ElementwiseTest, AddAndMultiplyVectors) {
  for (int n = 1; n <= 70; ++n) {
    for (const int times : {1, 3}) {
      const HostMat vector = HostMat::Normal(random_, 1, n);
      const HostMat whole = HostMat::Normal(random_, 1, n * times);
      const HostMat x = HostMat::Normal(random_, 9, n * times, 2);
      ExpectLikeRef(0, 0, std::to_string(n) + " x " + std::to_string(times), [&](Device& on) {
        const Mat y = on.Copy(x);
        on->MulVector(y, on.Vector(vector));
        on->AddVector(y, on.Vector(whole));
        return y;
      });
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
    const HostMat gain = HostMat::Normal(random_, 1, cols);
    const float most = (6 + std::fabs(offset)) * 6;  // of x, and of the gain
    const float bound = 2 * (6 + std::sqrt(static_cast<float>(cols))) * kEps;
    for (const bool in_place : {false, true}) {
      ExpectLikeRef(bound, bound * most, std::to_string(cols) + " columns", [&](Device& on) {
        const Mat from = on.Copy(x);
        const Mat y = in_place ? from : on.New(rows, cols, 3);
        on->LayerNorm(y, from, on.Vector(gain), eps);
        return y;
      });
    }
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
      const HostMat x = HostMat::Normal(random_, 4, cols, 2);
      const HostMat gain = HostMat::Normal(random_, 1, group);
      const float bound = (6 + std::sqrt(static_cast<float>(group))) * kEps;
      for (const bool with_gain : {false, true}) {
        ExpectLikeRef(bound, 0, "group of " + std::to_string(group), [&](Device& on) {
          const Mat y = on.New(4, cols, 5);
          on->RmsNorm(y, on.Copy(x), with_gain ? &on.Vector(gain) : nullptr, 1e-6f,
                      groups == 1 ? 0 : group);
          return y;
        });
      }
    }
  }
}

TEST_P(ElementwiseTest, RmsNormInPlaceOfWideRows) {
  const HostMat x = HostMat::Normal(random_, 37, 2560);
  ExpectLikeRef((6 + std::sqrt(2560.0f)) * kEps, 0, "2560", [&](Device& on) {
    const Mat y = on.Copy(x);
    on->RmsNorm(y, y, nullptr, 1e-6f, 0);
    return y;
  });
}

class RopeTest : public BackendTest {
 protected:
  // Both round the angle alike, so only sine and cosine (2 ulp of 1) and the two products differ.
  void Compare(const RopeSpec& spec, int heads, const std::vector<int>& positions,
               const HostMat* factors) {
    const HostMat x =
        HostMat::Normal(random_, static_cast<int>(positions.size()), heads * spec.head_dim, 3);
    ExpectLikeRef(0, 5 * 4 * kEps, "dim " + std::to_string(spec.head_dim),
                  [&](Device& on) { return Rotated(on, x, positions, spec, factors); });
  }
  static Mat Rotated(Device& on, const HostMat& x, const std::vector<int>& positions, RopeSpec spec,
                     const HostMat* factors) {
    const Mat y = on.Copy(x);
    if (factors != nullptr) spec.factors = &on.Vector(*factors);
    on->Rope(y, on.Ints(positions), spec);
    return y;
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
  const RopeSpec spec{.head_dim = 512, .count = 512, .base = 1e6f};
  Compare(spec, 2, {0, 1000, 100000}, &factors);
  const HostMat before = HostMat::Normal(random_, 1, 512);
  const HostMat x =
      RunOn(*backend_, [&](Device& on) { return Rotated(on, before, {100000}, spec, &factors); });
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
  const gguf::Tensor tensor{.name = "test",
                            .type = gguf::Type::kQ8_0,
                            .dims = {96, kRows},
                            .data = bytes.data(),
                            .bytes = bytes.size()};
  const std::vector<int> ids = {3, 0, 10, 3};
  for (Backend* b : Both()) {
    Device on(*b);
    const Weight& table = on.Pack(tensor, Use::kTable);
    ASSERT_EQ(table.rows, kRows);
    ASSERT_EQ(table.cols, 96);
    const Mat y = on.New(4, 96, 2);
    on->Embed(y, on.Ints(ids), table, 3);
    const HostMat embedded = *on.Read(y);
    on->AddEmbedding(y, on.Ints(ids), table);
    const HostMat sum = *on.Read(y);
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 96; ++c) {
        const int block = ids[static_cast<size_t>(r)] * 3 + c / 32;
        const size_t at = static_cast<size_t>(block * 34 + 2 + c % 32);
        const float value = static_cast<float>(static_cast<int8_t>(bytes[at])) * 0.0625f;
        ASSERT_EQ(embedded(r, c), 3 * value);
        ASSERT_EQ(sum(r, c), 4 * value);
      }
    }
  }
}

// The file may change after it was read.
TEST_P(RowsTest, SmallTablesAreCopied) {
  const HostMat numbers = HostMat::Normal(random_, 5, 30);
  for (Backend* b : Both()) {
    HostMat file = numbers;
    const HostMat y = RunOn(*b, [&](Device& on) {
      const Weight& table = on.Pack(FloatTensor(file), Use::kTable);
      std::fill_n(file[4], 30, 0.0f);
      const Mat at = on.New(1, 30);
      on->Embed(at, on.Ints({4}), table, 1);
      return at;
    });
    for (int c = 0; c < 30; ++c) EXPECT_EQ(y(0, c), numbers(4, c));
  }
}

TEST_P(RowsTest, GatherAndScatter) {
  const HostMat x = HostMat::Normal(random_, 40, 1000, 1);
  std::vector<int> order(40);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  Device on(*backend_);
  const Mat index = on.Ints(order);
  const Mat gathered = on.New(40, 1000, 2);
  const Mat back = on.New(40, 1000, 3);
  on->GatherRows(gathered, on.Copy(x), index);
  on->ScatterRows(back, gathered, index);
  const HostMat rows = *on.Read(gathered);
  for (int r = 0; r < 40; ++r) EXPECT_EQ(rows(r, 7), x(order[static_cast<size_t>(r)], 7));
  ExpectNear(*on.Read(back), x, 0, 0, "scatter of gather");
}

TEST_P(RowsTest, UploadAndDownload) {
  std::vector<float> dense(7 * 5);
  std::iota(dense.begin(), dense.end(), 0.0f);
  Device on(*backend_);
  const Mat x = on.New(7, 5, 4);
  on->Upload(x, dense.data());
  EXPECT_EQ((*on.Read(x))(6, 4), 34);
  std::vector<float> back(7 * 5);
  on->Download(back.data(), x);
  EXPECT_TRUE(on->Wait().ok());
  EXPECT_EQ(back, dense);
}

// Sums of nine in either order.
TEST_P(RowsTest, AveragePool) {
  for (const int cols : {1, 17, 70, 768}) {
    const HostMat x = HostMat::Normal(random_, 12 * 9, cols, 1);
    ExpectLikeRef(0, 9 * 4 * kEps, std::to_string(cols), [&](Device& on) {
      const Mat y = on.New(4 * 3, cols, 2);
      on->AveragePool(y, on.Copy(x), 9, 3);
      return y;
    });
  }
}

TEST_P(RowsTest, AllocationsAreZeroAndAligned) {
  for (const int halves : {0, 1, 5 << 19}) {
    std::vector<uint16_t> host(static_cast<size_t>(halves), 0xffff);
    const auto memory = *backend_->Allocate(host.size() * sizeof(uint16_t));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % 256, 0u);
    backend_->Download(host.data(), {memory.get(), 1, halves, halves, DType::kF16});
    ASSERT_TRUE(backend_->Wait().ok());
    EXPECT_TRUE(std::all_of(host.begin(), host.end(), [](uint16_t bits) { return bits == 0; }));
  }
  EXPECT_EQ(backend_->Allocate(size_t{1} << 62).status().code(),
            absl::StatusCode::kResourceExhausted);
}

INSTANTIATE_TEST_SUITE_P(All, ElementwiseTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);
INSTANTIATE_TEST_SUITE_P(All, RopeTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);
INSTANTIATE_TEST_SUITE_P(All, RowsTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
