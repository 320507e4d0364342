// Every type of weight against sums in double precision, on every backend.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/kernels/matmul_testing.h"
#include "tests/kernels/testing.h"

namespace softsplice::testing {
namespace {

std::vector<Type> AllTypes() {
  std::vector<Type> types(std::begin(kFloatTypes), std::end(kFloatTypes));
  types.insert(types.end(), std::begin(kQuantTypes), std::end(kQuantTypes));
  return types;
}
Arithmetic ArithmeticOf(Type type) {
  return IsFloat(type) ? Arithmetic::kFloat : Arithmetic::kQuantised;
}

class MatmulTest : public BackendTest {
 protected:
  HostMat Multiply(Device& on, const HostMat& x, const Weight& w) {
    const Mat y = on.New(x.rows(), w.rows, 5);
    on->Matmul(y, on.Copy(x), w);
    absl::StatusOr<HostMat> result = on.Read(y);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
  HostMat Multiply(Backend& backend, const HostMat& x, const TestWeight& w) {
    Device on(backend);
    return Multiply(on, x, on.Pack(w.tensor, Use::kLinear));
  }

  // Products with the same weight of several numbers of rows.
  void Check(Backend& backend, const TestWeight& w, const std::vector<int>& rows,
             Arithmetic arithmetic) {
    Device on(backend);
    const Weight& packed = on.Pack(w.tensor, Use::kLinear);
    for (const int n : rows) {
      SCOPED_TRACE(absl::StrCat(Name(w.tensor.type), " ", n, "x", packed.rows, "x", packed.cols));
      const HostMat x = arithmetic == Arithmetic::kCodes
                            ? Codes(random_, n, packed.cols, 3)
                            : HostMat::Normal(random_, n, packed.cols, 3);
      const HostMat y = Multiply(on, x, packed);
      for (int r = 0; r < n; ++r) CheckRow(y[r], x[r], w, arithmetic);
    }
  }
  void CheckRow(const float* y, const float* x, const TestWeight& w, Arithmetic arithmetic) {
    for (int o = 0; o < w.tensor.Rows(); ++o) {
      const Expected expected = Oracle(x, w, o, arithmetic);
      ASSERT_NEAR(y[o], expected.sum, expected.bound) << "output " << o;
    }
  }

  std::unique_ptr<Backend> fast_ = Make(2, false);
};

TEST_P(MatmulTest, FloatTypesAreSumsInFloat32) {
  for (const Type type : kFloatTypes) {
    for (const int cols : {1, 7, 8, 33, 300}) {
      for (const int outs : {1, 8, 15, 16, 17, 70}) {
        const TestWeight w(type, outs, cols, random_);
        Check(*fast_, w, {1, 2, 3, 4, 5, 6, 7, 12, 13, 33}, Arithmetic::kFloat);
      }
    }
  }
}

TEST_P(MatmulTest, QuantisedTypesAreExactButForTheActivations) {
  for (const Type type : kQuantTypes) {
    for (const int blocks : {1, 2, 5}) {
      for (const int outs : {1, 15, 16, 33, 70}) {
        const TestWeight w(type, outs, blocks * gguf::Info(type).block_elements, random_);
        for (const Arithmetic arithmetic : {Arithmetic::kCodes, Arithmetic::kQuantised}) {
          Check(*fast_, w, {1, 2, 3, 4, 5, 8, 9, 33}, arithmetic);
        }
      }
    }
  }
}

TEST_P(MatmulTest, ExactWeightsAreSumsInFloat32) {
  for (const Type type : kQuantTypes) {
    const TestWeight w(type, 37, 3 * gguf::Info(type).block_elements, random_);
    Check(*backend_, w, {9}, Arithmetic::kFloat);
  }
}

TEST_P(MatmulTest, AgreesWithTheReference) {
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 40, 256, random_);
    const HostMat x = HostMat::Normal(random_, 7, 256);
    const HostMat want = Multiply(*ref_, x, w);
    const HostMat y = Multiply(*fast_, x, w);
    for (int r = 0; r < 7; ++r) {
      for (int o = 0; o < 40; ++o) {
        const double bound = Oracle(x[r], w, o, ArithmeticOf(type)).bound +
                             Oracle(x[r], w, o, Arithmetic::kFloat).bound;  // each side's own
        ASSERT_NEAR(y(r, o), want(r, o), bound) << Name(type) << " " << r << " " << o;
      }
    }
  }
}

// Deep and wide enough that rows, outputs and inputs are all cut into several blocks.
TEST_P(MatmulTest, LargeShapes) {
  for (const Type type : AllTypes()) {
    SCOPED_TRACE(Name(type));
    const TestWeight w(type, 150, 4096, random_);
    const HostMat x = HostMat::Normal(random_, 260, 4096, 8);
    const HostMat y = Multiply(*fast_, x, w);
    // The other rows are equal to rows alone: RowsDoNotDependOnTheBatch.
    for (const int row : {0, 101, 259}) CheckRow(y[row], x[row], w, ArithmeticOf(type));
  }
}

// Rows alone, in any batch and on any number of threads: the same bits.
TEST_P(MatmulTest, RowsDoNotDependOnTheBatch) {
  constexpr int kRows = 301;
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 150, IsFloat(type) ? 1000 : 2048, random_);
    const HostMat x = HostMat::Normal(random_, kRows, static_cast<int>(w.tensor.Cols()));
    const HostMat whole = Multiply(*fast_, x, w);
    for (const int threads : {1, 2, 3}) {
      const std::unique_ptr<Backend> backend = Make(threads, false);
      Device on(*backend);
      const Weight& packed = on.Pack(w.tensor, Use::kLinear);
      for (const int count : {1, 2, 3, 4, 5, 6, 7, 13, 33, 250}) {
        const int first = kRows - count - static_cast<int>(random_() % 20);
        ASSERT_TRUE(Multiply(on, x.Rows(first, count), packed) == whole.Rows(first, count))
            << Name(type) << " rows " << first << " + " << count << " threads " << threads;
      }
    }
  }
}

TEST_P(MatmulTest, ClampsInputsAndOutputs) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kQ4_0, Type::kQ6_K, Type::kQ8_0}) {
    const TestWeight w(type, 40, IsFloat(type) ? 45 : 256, random_);
    Device on(*fast_);
    Weight packed = on.Pack(w.tensor, Use::kLinear);
    packed.in_lo = 0.25f;  // zero is outside: padding must not become the bound
    packed.in_hi = 1;
    packed.out_lo = -0.125f;
    packed.out_hi = 0.5f;
    HostMat x = HostMat::Normal(random_, 7, packed.cols);
    const HostMat y = Multiply(on, x, packed);
    int at_bound = 0;
    for (int r = 0; r < 7; ++r) {
      for (int c = 0; c < packed.cols; ++c) {
        x(r, c) = std::clamp(x(r, c), packed.in_lo, packed.in_hi);
      }
      for (int o = 0; o < 40; ++o) {
        const Expected expected = Oracle(x[r], w, o, ArithmeticOf(type));
        const double want = std::clamp(expected.sum, -0.125, 0.5);
        EXPECT_NEAR(y(r, o), want, expected.bound) << Name(type);
        at_bound += y(r, o) == packed.out_lo || y(r, o) == packed.out_hi;
      }
    }
    EXPECT_GT(at_bound, 0);
  }
}

// What is not finite in a row stays visible in that row, and only there.
TEST_P(MatmulTest, NotFiniteInputsStayInTheirRow) {
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 20, 256, random_);
    HostMat x = HostMat::Normal(random_, 6, 256);
    x(1, 77) = std::numeric_limits<float>::quiet_NaN();
    x(4, 255) = std::numeric_limits<float>::infinity();
    const HostMat y = Multiply(*fast_, x, w);
    for (int r = 0; r < 6; ++r) {
      for (int o = 0; o < 20; ++o) {
        EXPECT_EQ(std::isfinite(y(r, o)), r != 1 && r != 4) << Name(type) << " " << r << " " << o;
      }
    }
  }
}

TEST_P(MatmulTest, ZerosGiveZeros) {
  for (const Type type : AllTypes()) {
    const TestWeight w(type, 20, 256, random_);
    HostMat x(5, 256);
    for (int r = 0; r < 5; ++r) std::fill_n(x[r], 256, 0.0f);
    std::fill_n(x[2], 256, 1e-38f);  // too small to be scaled to int8
    const HostMat y = Multiply(*fast_, x, w);
    for (int r = 0; r < 5; ++r) {
      for (int o = 0; o < 20; ++o) EXPECT_NEAR(y(r, o), 0, 1e-33) << Name(type);
    }
  }
}

TEST_P(MatmulTest, GatedIsItsDefinition) {
  for (const Type up_type : {Type::kQ4_0, Type::kQ8_0, Type::kF16}) {
    const TestWeight gate_values(Type::kQ4_0, 48, 96, random_);
    const TestWeight up_values(up_type, 48, 96, random_);
    const HostMat x = HostMat::Normal(random_, 5, 96);
    for (const float in_hi : {std::numeric_limits<float>::infinity(), 0.5f}) {
      const auto gated = [&](bool fused) {
        return RunOn(*fast_, [&](Device& on) {
          const Weight& gate = on.Pack(gate_values.tensor, Use::kLinear);
          Weight up = on.Pack(up_values.tensor, Use::kLinear);
          up.in_hi = in_hi;
          const Mat y = on.New(5, 48);
          const Mat tmp = on.New(5, 48);
          if (fused) {
            on->GatedMatmul(y, tmp, on.Copy(x), gate, up, Gelu::kTanh);
          } else {
            on->Backend::GatedMatmul(y, tmp, on.Copy(x), gate, up, Gelu::kTanh);
          }
          return y;
        });
      };
      EXPECT_TRUE(gated(true) == gated(false)) << Name(up_type) << " " << in_hi;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatmulTest, ::testing::ValuesIn(CpuCandidates()), NameOf);

}  // namespace
}  // namespace softsplice::testing
