// Every type of weight against sums in double precision, on every instruction set.
#include "kernels/cpu/matmul/matmul.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/cpu/matmul/packed.h"
#include "kernels/ref/ref_backend.h"
#include "tests/kernels/matmul_testing.h"

namespace softsplice::testing {
namespace {

std::vector<Type> AllTypes() {
  std::vector<Type> types(std::begin(kFloatTypes), std::end(kFloatTypes));
  types.insert(types.end(), std::begin(kQuantTypes), std::end(kQuantTypes));
  return types;
}

class MatmulTest : public ::testing::TestWithParam<Target> {
 protected:
  Weight Pack(const TestWeight& w, bool exact = false) {
    absl::StatusOr<Weight> packed = PackLinearFor(w.tensor, *GetParam().kernels, exact, pool_);
    EXPECT_TRUE(packed.ok()) << packed.status();
    return *std::move(packed);
  }

  // One product, with padding between the rows of both sides.
  void Check(const TestWeight& w, const Weight& packed, int rows, Arithmetic arithmetic) {
    Rows x(rows, packed.cols, 3);
    Rows y(rows, packed.rows, 5);
    if (arithmetic == Arithmetic::kCodes) {
      x.FillWithCodes(random_);
    } else {
      x.Fill(random_);
    }
    ASSERT_TRUE(Matmul(y.mat(), x.mat(), packed, scratch_, pool_).ok());
    for (int r = 0; r < rows; ++r) CheckRow(y[r], x[r], w, arithmetic);
    EXPECT_TRUE(y.GuardsIntact());
  }

  void CheckRow(const float* y, const float* x, const TestWeight& w, Arithmetic arithmetic) {
    for (int o = 0; o < w.tensor.Rows(); ++o) {
      const Expected expected = Oracle(x, w, o, arithmetic);
      ASSERT_NEAR(y[o], expected.sum, expected.bound) << "output " << o;
    }
  }

  std::mt19937 random_{7};
  ThreadPool pool_{2};
  MatmulScratch scratch_;
};

TEST_P(MatmulTest, FloatTypesAreSumsInFloat32) {
  for (const Type type : kFloatTypes) {
    for (const int cols : {1, 7, 8, 33, 300}) {
      for (const int outs : {1, 8, 15, 16, 17, 70}) {
        const TestWeight w(type, outs, cols, random_);
        const Weight packed = Pack(w);
        for (const int rows : {1, 2, 3, 4, 5, 6, 7, 12, 13, 33}) {
          SCOPED_TRACE(absl::StrCat(Name(type), " ", rows, "x", outs, "x", cols));
          Check(w, packed, rows, Arithmetic::kFloat);
        }
      }
    }
  }
}

TEST_P(MatmulTest, QuantisedTypesAreExactButForTheActivations) {
  for (const Type type : kQuantTypes) {
    for (const int blocks : {1, 2, 5}) {
      for (const int outs : {1, 15, 16, 33, 70}) {
        const TestWeight w(type, outs, blocks * gguf::Info(type).block_elements, random_);
        const Weight packed = Pack(w);
        for (const int rows : {1, 2, 3, 4, 5, 8, 9, 33}) {
          SCOPED_TRACE(absl::StrCat(Name(type), " ", rows, "x", outs, "x", packed.cols));
          Check(w, packed, rows, Arithmetic::kCodes);
          Check(w, packed, rows, Arithmetic::kQuantised);
        }
      }
    }
  }
}

TEST_P(MatmulTest, ExactWeightsAreSumsInFloat32) {
  for (const Type type : kQuantTypes) {
    SCOPED_TRACE(Name(type));
    const TestWeight w(type, 37, 3 * gguf::Info(type).block_elements, random_);
    Check(w, Pack(w, true), 9, Arithmetic::kFloat);
  }
}

TEST_P(MatmulTest, AgreesWithTheReference) {
  const std::unique_ptr<Backend> reference = MakeRefBackend();
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 40, 256, random_);
    Rows x(7, 256);
    Rows y(7, 40);
    Rows want(7, 40);
    x.Fill(random_);
    reference->Matmul(want.mat(), x.mat(), reference->Pack(w.tensor, Use::kLinear).value());
    ASSERT_TRUE(Matmul(y.mat(), x.mat(), Pack(w), scratch_, pool_).ok());
    const Arithmetic arithmetic = IsFloat(type) ? Arithmetic::kFloat : Arithmetic::kQuantised;
    for (int r = 0; r < 7; ++r) {
      for (int o = 0; o < 40; ++o) {
        const double bound = Oracle(x[r], w, o, arithmetic).bound +
                             Oracle(x[r], w, o, Arithmetic::kFloat).bound;  // each side's own
        ASSERT_NEAR(y[r][o], want[r][o], bound) << Name(type) << " " << r << " " << o;
      }
    }
  }
}

// Deep and wide enough that rows, outputs and inputs are all cut into several blocks.
TEST_P(MatmulTest, LargeShapes) {
  for (const Type type : AllTypes()) {
    SCOPED_TRACE(Name(type));
    const TestWeight w(type, 150, 4096, random_);
    Rows x(260, 4096, 8);
    Rows y(260, 150, 1);
    x.Fill(random_);
    ASSERT_TRUE(Matmul(y.mat(), x.mat(), Pack(w), scratch_, pool_).ok());
    // The other rows are equal to rows alone: RowsDoNotDependOnTheBatch.
    for (const int row : {0, 101, 259}) {
      CheckRow(y[row], x[row], w, IsFloat(type) ? Arithmetic::kFloat : Arithmetic::kQuantised);
    }
  }
}

// Rows alone, in any batch and on any number of threads: the same bits.
TEST_P(MatmulTest, RowsDoNotDependOnTheBatch) {
  constexpr int kOuts = 150;
  constexpr int kRows = 301;
  for (const Type type : AllTypes()) {
    const int cols = IsFloat(type) ? 1000 : 2048;
    const TestWeight w(type, kOuts, cols, random_);
    const Weight packed = Pack(w);
    Rows x(kRows, cols);
    Rows whole(kRows, kOuts);
    x.Fill(random_);
    ASSERT_TRUE(Matmul(whole.mat(), x.mat(), packed, scratch_, pool_).ok());
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      for (const int count : {1, 2, 3, 4, 5, 6, 7, 13, 33, 250}) {
        const int first = kRows - count - static_cast<int>(random_() % 20);
        Rows part(count, kOuts);
        ASSERT_TRUE(Matmul(part.mat(), x.mat().Rows(first, count), packed, scratch_, pool).ok());
        ASSERT_EQ(0, std::memcmp(part[0], whole[first], part.data().size() * sizeof(float)))
            << Name(type) << " rows " << first << " + " << count << " threads " << threads;
      }
    }
  }
}

TEST_P(MatmulTest, ClampsInputsAndOutputs) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kQ4_0, Type::kQ6_K, Type::kQ8_0}) {
    const TestWeight w(type, 40, IsFloat(type) ? 45 : 256, random_);
    Weight packed = Pack(w);
    packed.in_lo = 0.25f;  // zero is outside: padding must not become the bound
    packed.in_hi = 1;
    packed.out_lo = -0.125f;
    packed.out_hi = 0.5f;
    Rows x(7, packed.cols);
    Rows y(7, 40);
    x.Fill(random_);
    ASSERT_TRUE(Matmul(y.mat(), x.mat(), packed, scratch_, pool_).ok());
    int at_bound = 0;
    for (float& value : x.data()) value = std::clamp(value, packed.in_lo, packed.in_hi);
    for (int r = 0; r < 7; ++r) {
      for (int o = 0; o < 40; ++o) {
        const Expected expected =
            Oracle(x[r], w, o, IsFloat(type) ? Arithmetic::kFloat : Arithmetic::kQuantised);
        const double want = std::clamp(expected.sum, -0.125, 0.5);
        EXPECT_NEAR(y[r][o], want, expected.bound) << Name(type);
        at_bound += y[r][o] == packed.out_lo || y[r][o] == packed.out_hi;
      }
    }
    EXPECT_GT(at_bound, 0);
  }
}

// What is not finite in a row stays visible in that row, and only there.
TEST_P(MatmulTest, NotFiniteInputsStayInTheirRow) {
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 20, 256, random_);
    Rows x(6, 256);
    Rows y(6, 20);
    x.Fill(random_);
    x[1][77] = std::numeric_limits<float>::quiet_NaN();
    x[4][255] = std::numeric_limits<float>::infinity();
    ASSERT_TRUE(Matmul(y.mat(), x.mat(), Pack(w), scratch_, pool_).ok());
    for (int r = 0; r < 6; ++r) {
      for (int o = 0; o < 20; ++o) {
        EXPECT_EQ(std::isfinite(y[r][o]), r != 1 && r != 4) << Name(type) << " " << r << " " << o;
      }
    }
  }
}

TEST_P(MatmulTest, ZerosGiveZeros) {
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 20, 256, random_);
    Rows x(5, 256);
    Rows y(5, 20);
    std::fill(x.data().begin(), x.data().end(), 0.0f);
    std::fill_n(x[2], 256, 1e-38f);  // too small to be scaled to int8
    ASSERT_TRUE(Matmul(y.mat(), x.mat(), Pack(w), scratch_, pool_).ok());
    for (const float value : y.data()) EXPECT_NEAR(value, 0, 1e-33) << Name(type);
  }
}

TEST_P(MatmulTest, GatedIsTwoMatmuls) {
  for (const Type up_type : {Type::kQ4_0, Type::kQ8_0, Type::kF16}) {
    const TestWeight gate_values(Type::kQ4_0, 48, 96, random_);
    const TestWeight up_values(up_type, 48, 96, random_);
    const Weight gate = Pack(gate_values);
    Weight up = Pack(up_values);
    for (const float in_hi : {gate.in_hi, 0.5f}) {
      up.in_hi = in_hi;
      Rows x(5, 96);
      Rows y(5, 48), tmp(5, 48), y_alone(5, 48), tmp_alone(5, 48);
      x.Fill(random_);
      ASSERT_TRUE(Matmul(y_alone.mat(), x.mat(), gate, scratch_, pool_).ok());
      ASSERT_TRUE(Matmul(tmp_alone.mat(), x.mat(), up, scratch_, pool_).ok());
      int calls = 0;
      const auto gelu_mul = [&](Mat g, Mat u) {
        EXPECT_EQ(g.data, y.mat().data);
        EXPECT_EQ(u.data, tmp.mat().data);
        ++calls;
      };
      ASSERT_TRUE(
          GatedMatmul(y.mat(), tmp.mat(), x.mat(), gate, up, gelu_mul, scratch_, pool_).ok());
      EXPECT_EQ(calls, 1);
      EXPECT_EQ(y.data(), y_alone.data());
      EXPECT_EQ(tmp.data(), tmp_alone.data());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, MatmulTest, ::testing::ValuesIn(Targets()), NameOf);

}  // namespace
}  // namespace softsplice::testing
