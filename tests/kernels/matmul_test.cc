// Float weights and quantised ones against sums in double precision, on every instruction set.
#include "kernels/cpu/matmul/matmul.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/matmul/packed.h"

namespace softsplice {
namespace {

using gguf::Type;

constexpr double kEps = 0x1p-24;  // half a unit in the last place of 1.0f

struct Candidate {
  std::string name;
  const Kernels* kernels;
};

std::string NameOf(const ::testing::TestParamInfo<Candidate>& info) { return info.param.name; }

std::vector<Candidate> Candidates() {
  std::vector<Candidate> all = {{"generic", &cpu_generic::kMatmulKernels}};
  if (Supported(Isa::kAvx2)) {
    all.push_back({"avx2", &cpu_avx2::kMatmulKernels});
    all.push_back({"avx2x16", &cpu_avx2x16::kMatmulKernels});
  }
  if (Supported(Isa::kAvx512)) all.push_back({"avx512", &cpu_avx512::kMatmulKernels});
  return all;
}

constexpr Type kQuantTypes[] = {Type::kQ4_0, Type::kQ4_1, Type::kQ5_0, Type::kQ5_1,   Type::kQ8_0,
                                Type::kQ2_K, Type::kQ3_K, Type::kQ4_K, Type::kQ5_K,   Type::kQ6_K,
                                Type::kIQ4_NL, Type::kIQ4_XS};
constexpr Type kFloatTypes[] = {Type::kF32, Type::kF16, Type::kBF16};

bool IsFloat(Type type) { return std::count(std::begin(kFloatTypes), std::end(kFloatTypes), type); }

uint16_t HalfBits(float value) {
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

// A linear layer's tensor and its values.
struct TestWeight {
  TestWeight(Type type, int rows, int cols, std::mt19937& random) {
    const gguf::TypeInfo& info = gguf::Info(type);
    const size_t blocks = static_cast<size_t>(rows) * static_cast<size_t>(cols) /
                          static_cast<size_t>(info.block_elements);
    bytes.resize(blocks * static_cast<size_t>(info.block_bytes));
    std::normal_distribution<float> normal;
    if (IsFloat(type)) {
      for (size_t i = 0; i < blocks; ++i) {
        const float value = normal(random);
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        const uint16_t half =
            type == Type::kF16 ? HalfBits(value) : static_cast<uint16_t>(bits >> 16);
        std::memcpy(&bytes[i * SizeOfNumber(type)],
                    type == Type::kF32 ? static_cast<const void*>(&value) : &half,
                    SizeOfNumber(type));
      }
    } else {
      RandomBlocks(type, random);
    }
    values.resize(static_cast<size_t>(rows) * static_cast<size_t>(cols));
    gguf::Dequantize(type, bytes.data(), values.data(), static_cast<int64_t>(values.size()));
    tensor.name = "w";
    tensor.type = type;
    tensor.dims = {cols, rows};
    tensor.data = bytes.data();
    tensor.bytes = bytes.size();
  }

  static size_t SizeOfNumber(Type type) { return type == Type::kF32 ? 4 : 2; }

  // All codes and integer scales; half-precision scales of both signs around 0.01.
  void RandomBlocks(Type type, std::mt19937& random) {
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    const size_t step = static_cast<size_t>(gguf::Info(type).block_bytes);
    std::uniform_real_distribution<float> scale(-0.02f, 0.02f);
    for (size_t block = 0; block < bytes.size(); block += step) {
      for (const size_t offset : HalfOffsets(type)) {
        const uint16_t half = HalfBits(scale(random));
        std::memcpy(&bytes[block + offset], &half, sizeof half);
      }
    }
  }

  static std::vector<size_t> HalfOffsets(Type type) {
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

  std::vector<uint8_t> bytes;
  std::vector<float> values;  // [rows, cols]
  gguf::Tensor tensor;
};

// Rows of numbers with a guard of NaN between them.
struct Rows {
  Rows(int rows, int cols, int padding)
      : data(static_cast<size_t>(rows) * static_cast<size_t>(cols + padding), std::nanf("")),
        mat{data.data(), rows, cols, cols + padding} {}
  void Fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (int r = 0; r < mat.rows; ++r) {
      for (int c = 0; c < mat.cols; ++c) mat.Row<float>(r)[c] = normal(random);
    }
  }
  bool GuardsIntact() const {
    for (int r = 0; r < mat.rows; ++r) {
      for (int c = mat.cols; c < mat.pitch; ++c) {
        if (!std::isnan(mat.Row<float>(r)[c])) return false;
      }
    }
    return true;
  }
  std::vector<float> data;
  Mat mat;
};

// What one sum is, and how far float32 and, if `quantized`, int8 activations may move it.
struct Expected {
  double sum = 0;
  double bound = 0;
};

// A sum of n products in float32, each of which was rounded a few times, errs by at most
// (n + few) * eps * sum |x w|. Activations of a block are off by at most half a step,
// max|x| / 254 each, so the sum by that times sum |w|; scales add a few roundings. A type with
// minimums has terms code * scale and min that may be larger than their sum, at most `inflation`
// times the largest weight of the block.
Expected Oracle(const float* x, const float* w, int cols, bool quantized) {
  Expected result;
  double magnitude = 0;
  for (int b = 0; b < cols; b += kBlock) {
    const int end = std::min(cols, b + kBlock);
    double max_x = 0, max_w = 0, sum_w = 0;
    for (int k = b; k < end; ++k) {
      max_x = std::max(max_x, std::fabs(double{x[k]}));
      max_w = std::max(max_w, std::fabs(double{w[k]}));
      sum_w += std::fabs(double{w[k]});
      result.sum += double{x[k]} * double{w[k]};
      if (!quantized) magnitude += std::fabs(double{x[k]} * double{w[k]});
    }
    if (quantized) {
      result.bound += sum_w * max_x / 254;
      magnitude += 2 * kBlock * max_x * max_w;
    }
  }
  result.bound += (cols + 16) * kEps * magnitude;
  return result;
}

float Clamp(float x, float lo, float hi) { return std::min(std::max(x, lo), hi); }

class MatmulTest : public ::testing::TestWithParam<Candidate> {
 protected:
  Weight Pack(const TestWeight& w, bool exact = false) {
    absl::StatusOr<Weight> packed = PackLinearFor(w.tensor, *GetParam().kernels, exact, pool_);
    EXPECT_TRUE(packed.ok()) << packed.status();
    return *std::move(packed);
  }

  void Check(const Rows& y, const Rows& x, const TestWeight& w, bool quantized,
             const std::string& what) {
    const int cols = x.mat.cols;
    for (int r = 0; r < x.mat.rows; ++r) {
      for (int o = 0; o < y.mat.cols; ++o) {
        const Expected expected = Oracle(
            x.mat.Row<float>(r), &w.values[static_cast<size_t>(o) * static_cast<size_t>(cols)],
            cols, quantized);
        ASSERT_NEAR(y.mat.Row<float>(r)[o], expected.sum, expected.bound)
            << what << " row " << r << " out " << o;
      }
    }
    EXPECT_TRUE(y.GuardsIntact()) << what;
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
          Rows x(rows, cols, 3);
          Rows y(rows, outs, 5);
          x.Fill(random_);
          Matmul(y.mat, x.mat, packed, scratch_, pool_);
          Check(y, x, w, false,
                absl::StrCat(absl::string_view(gguf::Info(type).name), " ", rows, "x", outs, "x",
                             cols));
        }
      }
    }
  }
}

TEST_P(MatmulTest, QuantizedTypesAreOffByTheActivationsStep) {
  for (const Type type : kQuantTypes) {
    for (const int blocks : {1, 2, 5}) {
      const int cols = blocks * gguf::Info(type).block_elements;
      for (const int outs : {1, 15, 16, 33, 70}) {
        const TestWeight w(type, outs, cols, random_);
        const Weight packed = Pack(w);
        for (const int rows : {1, 2, 3, 4, 5, 8, 9, 33}) {
          Rows x(rows, cols, 3);
          Rows y(rows, outs, 5);
          x.Fill(random_);
          Matmul(y.mat, x.mat, packed, scratch_, pool_);
          Check(y, x, w, true,
                absl::StrCat(absl::string_view(gguf::Info(type).name), " ", rows, "x", outs, "x",
                             cols));
        }
      }
    }
  }
}

TEST_P(MatmulTest, ExactWeightsAreSumsInFloat32) {
  for (const Type type : kQuantTypes) {
    const int cols = 3 * gguf::Info(type).block_elements;
    const TestWeight w(type, 37, cols, random_);
    Rows x(9, cols, 0);
    Rows y(9, 37, 0);
    x.Fill(random_);
    Matmul(y.mat, x.mat, Pack(w, true), scratch_, pool_);
    Check(y, x, w, false, std::string(gguf::Info(type).name));
  }
}

// Deep and wide enough that rows, outputs and inputs are all split into several blocks.
TEST_P(MatmulTest, SplitShapes) {
  for (const Type type : {Type::kF16, Type::kQ4_0, Type::kQ6_K, Type::kQ8_0}) {
    const TestWeight w(type, 150, 4096, random_);
    const Weight packed = Pack(w);
    Rows x(260, 4096, 8);
    Rows y(260, 150, 1);
    x.Fill(random_);
    Matmul(y.mat, x.mat, packed, scratch_, pool_);
    // A few of the rows: the rest are equal to rows alone, see below.
    for (const int row : {0, 101, 259}) {
      Rows x_row(1, 4096, 0);
      Rows y_row(1, 150, 0);
      std::copy_n(x.mat.Row<float>(row), 4096, x_row.data.data());
      std::copy_n(y.mat.Row<float>(row), 150, y_row.data.data());
      Check(y_row, x_row, w, !IsFloat(type), std::string(gguf::Info(type).name));
    }
  }
}

// Rows alone, in any batch and on any number of threads: the same bits.
TEST_P(MatmulTest, RowsDoNotDependOnTheBatch) {
  std::vector<Type> types(std::begin(kQuantTypes), std::end(kQuantTypes));
  types.insert(types.end(), std::begin(kFloatTypes), std::end(kFloatTypes));
  for (const Type type : types) {
    const int cols = IsFloat(type) ? 1000 : 1024;
    constexpr int kOuts = 150;
    const TestWeight w(type, kOuts, cols, random_);
    const Weight packed = Pack(w);
    Rows x(301, cols, 0);
    Rows whole(301, kOuts, 0);
    x.Fill(random_);
    Matmul(whole.mat, x.mat, packed, scratch_, pool_);
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const int count : {1, 2, 3, 4, 5, 6, 7, 13, 33, 250}) {
        const int first = 301 - count - static_cast<int>(random_() % 20);
        Rows part(count, kOuts, 0);
        Matmul(part.mat, x.mat.Rows(first, count), packed, scratch_, pool);
        ASSERT_EQ(0, std::memcmp(part.data.data(), whole.mat.Row<float>(first),
                                 part.data.size() * sizeof(float)))
            << gguf::Info(type).name << " rows " << first << " + " << count << " threads "
            << threads;
      }
    }
  }
}

TEST_P(MatmulTest, ClampsInputsAndOutputs) {
  for (const Type type : {Type::kF32, Type::kF16, Type::kQ4_0, Type::kQ8_0}) {
    const int cols = IsFloat(type) ? 45 : 64;
    TestWeight w(type, 40, cols, random_);
    Weight packed = Pack(w);
    packed.in_lo = 0.25f;  // zero is outside: padding must not become the bound
    packed.in_hi = 1;
    packed.out_lo = -0.125f;
    packed.out_hi = 0.5f;
    Rows x(7, cols, 0);
    Rows y(7, 40, 0);
    x.Fill(random_);
    Matmul(y.mat, x.mat, packed, scratch_, pool_);
    Rows clamped = x;
    clamped.mat.data = clamped.data.data();
    for (float& value : clamped.data) value = Clamp(value, 0.25f, 1);
    int at_bound = 0;
    for (int r = 0; r < 7; ++r) {
      for (int o = 0; o < 40; ++o) {
        const Expected expected = Oracle(clamped.mat.Row<float>(r),
                                         &w.values[static_cast<size_t>(o) * static_cast<size_t>(cols)],
                                         cols, !IsFloat(type));
        const float got = y.mat.Row<float>(r)[o];
        EXPECT_NEAR(got, Clamp(static_cast<float>(expected.sum), -0.125f, 0.5f), expected.bound);
        at_bound += got == -0.125f || got == 0.5f;
      }
    }
    EXPECT_GT(at_bound, 20);
    EXPECT_LT(at_bound, 280);
  }
}

// What is not finite in a row stays visible in that row, and only there.
TEST_P(MatmulTest, NotFiniteInputsStayInTheirRow) {
  for (const Type type : {Type::kF32, Type::kQ4_0, Type::kQ4_1, Type::kQ6_K, Type::kQ8_0}) {
    const TestWeight w(type, 20, 256, random_);
    Rows x(6, 256, 0);
    Rows y(6, 20, 0);
    x.Fill(random_);
    x.mat.Row<float>(1)[77] = std::nanf("");
    x.mat.Row<float>(4)[255] = INFINITY;
    Matmul(y.mat, x.mat, Pack(w), scratch_, pool_);
    for (int r = 0; r < 6; ++r) {
      for (int o = 0; o < 20; ++o) {
        EXPECT_EQ(std::isfinite(y.mat.Row<float>(r)[o]), r != 1 && r != 4) << r << " " << o;
      }
    }
  }
}

TEST_P(MatmulTest, ZeroRowsGiveZeros) {
  for (const Type type : kQuantTypes) {
    const TestWeight w(type, 20, 256, random_);
    Rows x(5, 256, 0);
    Rows y(5, 20, 0);
    std::fill(x.data.begin(), x.data.end(), 0.0f);
    std::fill_n(x.mat.Row<float>(2), 256, 1e-38f);  // too small to be scaled
    Matmul(y.mat, x.mat, Pack(w), scratch_, pool_);
    for (const float value : y.data) EXPECT_NEAR(value, 0, 1e-30) << gguf::Info(type).name;
  }
}

TEST_P(MatmulTest, GatedIsTwoMatmuls) {
  for (const Type up_type : {Type::kQ4_0, Type::kQ8_0, Type::kF16}) {
    const TestWeight gate_values(Type::kQ4_0, 48, 96, random_);
    const TestWeight up_values(up_type, 48, 96, random_);
    const Weight gate = Pack(gate_values);
    const Weight up = Pack(up_values);
    Rows x(5, 96, 0);
    Rows y(5, 48, 0), tmp(5, 48, 0), y_alone(5, 48, 0), tmp_alone(5, 48, 0);
    x.Fill(random_);
    Matmul(y_alone.mat, x.mat, gate, scratch_, pool_);
    Matmul(tmp_alone.mat, x.mat, up, scratch_, pool_);
    int calls = 0;
    GatedMatmul(
        y.mat, tmp.mat, x.mat, gate, up,
        [&](Mat g, Mat u) {
          EXPECT_EQ(g.data, y.mat.data);
          EXPECT_EQ(u.data, tmp.mat.data);
          ++calls;
        },
        scratch_, pool_);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(y.data, y_alone.data);
    EXPECT_EQ(tmp.data, tmp_alone.data);
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, MatmulTest, ::testing::ValuesIn(Candidates()),
                         NameOf);

}  // namespace
}  // namespace softsplice
