// CUDA's matmul: every type of weight against sums in double precision over gguf's numbers, and the
// same bits for a row in any company.
#include <algorithm>
#include <deque>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/shapes.h"
#include "tests/kernels/cuda/matmul_testing.h"

namespace softsplice::cuda {
namespace {

using gguf::Type;
using softsplice::testing::IsFloat;

std::vector<Type> AllTypes() {
  std::vector<Type> types;
  for (const gguf::TypeInfo& info : gguf::AllTypes()) types.push_back(info.type);
  return types;
}

class MatmulTest : public ::testing::TestWithParam<Type> {
 protected:
  int Block() const { return gguf::Info(GetParam()).block_elements; }
  // About `cols`, as many as the type can have.
  int Cols(int cols) const { return (cols + Block() - 1) / Block() * Block(); }

  std::mt19937 random_{7};
};

// How x comes and what becomes of it.
struct Way {
  std::string name;
  DType type;
  MatmulOptions options;
};
const std::vector<Way>& Ways() {
  static const std::vector<Way>& ways = *new auto([] {
    std::vector<Way> all = {{"bfloat16", DType::kBF16, {}},
                            {"float32", DType::kF32, {}},
                            {"exact", DType::kF32, {.exact = true}}};
    cudaDeviceProp device;
    EXPECT_EQ(cudaGetDeviceProperties(&device, 0), cudaSuccess);
    if (HasWarpgroups(device)) {
      all.push_back({"by warpgroups", DType::kBF16, {.warpgroups = true}});
    }
    return all;
  }());
  return ways;
}

// What a launch with such operands works in, and one number more: there is no empty one.
DeviceVector<uint16_t> ScratchFor(const Mat& x, const Weight& w, const Way& way) {
  return DeviceVector<uint16_t>(MatmulScratch(x, w, way.options.exact) + 1);
}

std::vector<float> Multiply(const std::vector<float>& x, const Weight& w, const Way& way,
                            int x_padding = 0, int y_padding = 0) {
  const DeviceRows rows(x, w.cols, way.type, x_padding);
  const DeviceRows y(rows.mat().rows, w.rows, DType::kF32, y_padding);
  const auto scratch = ScratchFor(rows.mat(), w, way);
  const Linear linear{y.mat(), &w};
  EXPECT_EQ(LaunchMatmuls(nullptr, {&linear, 1}, rows.mat(), way.options, scratch.data()),
            cudaSuccess);
  return y.Read();
}

void ExpectProducts(const std::vector<float>& y, const std::vector<float>& x, const TestWeight& w,
                    bool exact) {
  const size_t outs = static_cast<size_t>(w.tensor.Rows());
  const size_t cols = static_cast<size_t>(w.tensor.Cols());
  ASSERT_EQ(y.size() * cols, x.size() * outs);
  for (size_t i = 0; i < y.size(); ++i) {
    const Expected expected = Oracle(&x[i / outs * cols], w, static_cast<int>(i % outs), exact);
    ASSERT_NEAR(y[i], expected.sum, expected.bound) << "row " << i / outs << " output " << i % outs;
  }
}

TEST_P(MatmulTest, IsTheSumOfProducts) {
  struct Shape {
    int rows, outs, cols;
    int padding;  // NaN after each row: whole rows where it is a multiple of 8, or of 4
  };
  const Shape shapes[] = {{1, 16, 1, 0},    {1, 1, 45, 3},    {2, 15, 64, 8},  {3, 17, 100, 8},
                          {7, 33, 7, 0},    {8, 48, 256, 0},  {9, 16, 700, 8}, {16, 40, 96, 8},
                          {17, 31, 160, 3}, {33, 20, 320, 8}, {64, 34, 36, 4}, {65, 70, 72, 8},
                          {96, 16, 136, 8}, {130, 150, 60, 4}};
  for (const Shape& shape : shapes) {
    const TestWeight w(GetParam(), shape.outs, Cols(shape.cols), random_);
    const Weight packed = PackedOnDevice(w);
    const std::vector<float> x =
        Normals(static_cast<size_t>(shape.rows) * static_cast<size_t>(packed.cols), random_());
    for (const Way& way : Ways()) {
      SCOPED_TRACE(absl::StrCat(way.name, " ", shape.rows, "x", shape.outs, "x", packed.cols));
      ExpectProducts(Multiply(x, packed, way, shape.padding, shape.outs % 4), x, w,
                     way.options.exact);
    }
  }
}

// A row with a single one is a column of the weight: packing keeps every number.
TEST_P(MatmulTest, KeepsEveryWeight) {
  const int cols = Cols(130);
  const TestWeight w(GetParam(), 37, cols, random_);
  std::vector<float> x(static_cast<size_t>(cols) * static_cast<size_t>(cols));
  for (int k = 0; k < cols; ++k) x[static_cast<size_t>(k * cols + k)] = 1;
  const std::vector<float> y = Multiply(x, PackedOnDevice(w), Ways()[0]);
  const bool rounds = SpecOf(TilesFor(w.tensor).format).HasMin();
  for (int k = 0; k < cols; ++k) {
    for (int out = 0; out < 37; ++out) {
      const float got = y[static_cast<size_t>(k * 37 + out)];
      const float want = w.values[static_cast<size_t>(out * cols + k)];
      if (GetParam() == Type::kF32) {
        ASSERT_NEAR(got, want, 0x1p-17 * std::fabs(want));
      } else if (rounds) {
        // gguf rounds the difference once, sums here each of its parts; the largest is twice 0.02
        // of 63 times 15 and of 63, or 31.
        ASSERT_NEAR(got, want, 2 * 0x1p-24 * 0.02 * 63 * 31) << out << " " << k;
      } else {
        ASSERT_EQ(got, want) << out << " " << k;
      }
    }
  }
}

// The same bits for a row among others, alone, at any place, and however the threads run.
TEST_P(MatmulTest, RowsDoNotDependOnTheirCompany) {
  constexpr int kRows = 200, kOuts = 70;
  const int cols = Cols(IsFloat(GetParam()) ? 1100 : 1200);
  const size_t outs = kOuts, width = static_cast<size_t>(cols);
  const Weight w = PackedOnDevice(TestWeight(GetParam(), kOuts, cols, random_));
  std::vector<float> x = Normals(kRows * width, 3);
  for (float& v : x) v = BF16ToFloat(FloatToBF16(v));  // so that both ways in are one
  const std::vector<float> as_bfloat16 = Multiply(x, w, Ways()[0]);
  for (const Way& way : Ways()) {
    const std::vector<float> whole = Multiply(x, w, way);
    EXPECT_TRUE(way.options.exact || whole == as_bfloat16) << way.name;
    EXPECT_EQ(Multiply(x, w, way), whole) << "in another order of threads";
    for (const int count : {1, 2, 8, 9, 33, 64, 65}) {
      const size_t first = random_() % static_cast<size_t>(kRows - count);
      const std::vector<float> part(
          x.begin() + static_cast<ptrdiff_t>(first * width),
          x.begin() + static_cast<ptrdiff_t>((first + static_cast<size_t>(count)) * width));
      const std::vector<float> y = Multiply(part, w, way);
      EXPECT_TRUE(
          std::equal(y.begin(), y.end(), whole.begin() + static_cast<ptrdiff_t>(first * outs)))
          << way.name << " rows " << first << " + " << count;
    }
  }
}

// Where there are blocks enough they have more strips or tokens, for the same bits.
TEST_P(MatmulTest, OutputsDoNotDependOnTheirCompany) {
  constexpr int kRows = 70, kOuts = kManyStrips * 2 * kStripRows * 130;
  const int cols = Cols(200);
  const TestWeight weight(GetParam(), kOuts, cols, random_);
  const Weight w = PackedOnDevice(weight);
  const MatmulKind kind{.many_strips = HasManyStrips(SpecOf(TilesFor(weight.tensor).format))};
  EXPECT_EQ(MatmulShapeOf(kRows, kOuts / kStripRows, kind).strips,
            kind.many_strips ? kManyStrips : kFewStrips);
  const std::vector<float> x = Normals(kRows * static_cast<size_t>(cols), 3);
  const std::vector<float> whole = Multiply(x, w, Ways()[0]);
  const auto end = x.end() - 6 * cols;  // few enough for the decode kernel
  const std::vector<float> some = Multiply({x.begin(), end}, w, Ways()[0]);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), whole.begin()));
  const std::vector<float> one = Multiply({x.begin(), x.begin() + cols}, w, Ways()[0]);
  EXPECT_TRUE(std::equal(one.begin(), one.end(), whole.begin()));
  for (const Way& way : Ways()) {
    if (!way.options.warpgroups) continue;
    EXPECT_EQ(Multiply(x, w, way), whole);
  }
}

// What is not finite in a row stays visible in that row, and only there.
TEST_P(MatmulTest, NotFiniteInputsStayInTheirRow) {
  const TestWeight w(GetParam(), 20, Cols(256), random_);
  const Weight packed = PackedOnDevice(w);
  const size_t cols = static_cast<size_t>(packed.cols);
  for (const int rows : {6, 70}) {
    for (const Way& way : Ways()) {
      std::vector<float> x = Normals(static_cast<size_t>(rows) * cols, 5);
      const std::vector<float> clean = Multiply(x, packed, way);
      x[cols + 77] = std::numeric_limits<float>::quiet_NaN();
      x[4 * cols + 255] = std::numeric_limits<float>::infinity();
      const std::vector<float> y = Multiply(x, packed, way);
      for (size_t i = 0; i < y.size(); ++i) {
        if (i / 20 == 1) {
          EXPECT_TRUE(std::isnan(y[i]));
        } else if (i / 20 == 4) {
          EXPECT_FALSE(std::isfinite(y[i]));
        } else {
          EXPECT_EQ(y[i], clean[i]) << way.name << " row " << i / 20 << " of " << rows;
        }
      }
    }
  }
}

std::string NameOfType(const ::testing::TestParamInfo<Type>& type) {
  return softsplice::testing::Name(type.param);
}
INSTANTIATE_TEST_SUITE_P(Types, MatmulTest, ::testing::ValuesIn(AllTypes()), NameOfType);

TEST(ClippedMatmul, ClampsInputsAndOutputs) {
  std::mt19937 random(11);
  for (const Type type : {Type::kF32, Type::kBF16, Type::kQ4_0}) {
    const TestWeight w(type, 40, 96, random);
    Weight packed = PackedOnDevice(w);
    packed.in_lo = 0.25f;  // zero is outside: padding must not become the bound
    packed.in_hi = 1;
    packed.out_lo = -0.125f;
    packed.out_hi = 0.5f;
    for (const size_t rows : {7, 66}) {
      for (const Way& way : Ways()) {
        std::vector<float> x = Normals(rows * 96, 13);
        std::vector<float> y = Multiply(x, packed, way);
        for (float& v : x) {
          if (way.type == DType::kBF16) v = BF16ToFloat(FloatToBF16(v));  // before the clamp
          v = std::clamp(v, packed.in_lo, packed.in_hi);
        }
        int inside = 0;
        for (size_t i = 0; i < y.size(); ++i) {
          const Expected expected =
              Oracle(&x[i / 40 * 96], w, static_cast<int>(i % 40), way.options.exact);
          ASSERT_NEAR(y[i], std::clamp(expected.sum, -0.125, 0.5), expected.bound) << way.name;
          inside += y[i] > packed.out_lo && y[i] < packed.out_hi;
        }
        EXPECT_GT(inside, 0);
        EXPECT_LT(inside, static_cast<int>(y.size()));
      }
    }
  }
}

// The gate's function in double precision.
double GeluOf(double x, Gelu gelu) {
  if (gelu == Gelu::kQuick) return x / (1 + std::exp(-1.702 * x));
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

TEST(GatedMatmul, IsTheGeluOfOneProductTimesAnother) {
  std::mt19937 random(17);
  for (const Type type : {Type::kF16, Type::kQ4_0, Type::kQ4_K, Type::kQ6_K}) {
    constexpr size_t kOuts = 72, kCols = 256;
    const TestWeight gate(type, kOuts, kCols, random), up(type, kOuts, kCols, random);
    const Weight packed_gate = PackedOnDevice(gate), packed_up = PackedOnDevice(up);
    ASSERT_TRUE(CanGate(packed_gate, packed_up));
    for (const size_t rows : {1, 9, 64, 100}) {
      for (const Way& way : Ways()) {
        SCOPED_TRACE(absl::StrCat(softsplice::testing::Name(type), " ", way.name, " ", rows));
        const Gelu gelu = rows == 9 ? Gelu::kQuick : Gelu::kTanh;
        const std::vector<float> x = Normals(rows * kCols, 19);
        const DeviceRows on_device(x, kCols, way.type, 8);
        const DeviceRows y(static_cast<int>(rows), kOuts, DType::kF32, 3);
        const DeviceRows rounded(static_cast<int>(rows), kOuts, DType::kBF16, 5);
        const auto scratch = ScratchFor(on_device.mat(), packed_gate, way);
        for (const DeviceRows* to : {&y, &rounded}) {
          ASSERT_EQ(LaunchGatedMatmul(nullptr, to->mat(), on_device.mat(), packed_gate, packed_up,
                                      gelu, way.options, scratch.data()),
                    cudaSuccess);
        }
        const std::vector<float> got = y.Read(), got_rounded = rounded.Read();
        const std::vector<float> gates = Multiply(x, packed_gate, way);
        const std::vector<float> ups = Multiply(x, packed_up, way);
        for (size_t i = 0; i < got.size(); ++i) {
          const double want = GeluOf(gates[i], gelu) * ups[i];
          // A dozen roundings of the function's parts, none of which is larger than |x|.
          ASSERT_NEAR(got[i], want, 12 * 0x1p-24 * std::fabs(1.0 * gates[i] * ups[i])) << i;
          ASSERT_EQ(got_rounded[i], BF16ToFloat(FloatToBF16(got[i]))) << i;
        }
      }
    }
  }
}

TEST(MatmulGelu, IsTheGeluOfTheProductTimesNumbers) {
  std::mt19937 random(31);
  for (const Type type : {Type::kF16, Type::kQ4_0, Type::kQ4_K, Type::kQ6_K}) {
    constexpr size_t kOuts = 72, kCols = 256;
    Weight w = PackedOnDevice(TestWeight(type, kOuts, kCols, random));
    if (type == Type::kQ4_0) w.out_hi = 0.25f;
    for (const size_t rows : {1, 9, 64, 100}) {
      for (const Way& way : Ways()) {
        SCOPED_TRACE(absl::StrCat(softsplice::testing::Name(type), " ", way.name, " ", rows));
        const Gelu gelu = rows == 9 ? Gelu::kQuick : Gelu::kTanh;
        const std::vector<float> x = Normals(rows * kCols, 19);
        const DeviceRows on_device(x, kCols, way.type, 8);
        const DeviceRows times(Normals(rows * kOuts, 23), kOuts, DType::kF32, 1);
        const DeviceRows y(static_cast<int>(rows), kOuts, DType::kF32, 3);
        const auto scratch = ScratchFor(on_device.mat(), w, way);
        ASSERT_EQ(LaunchMatmulGelu(nullptr, y.mat(), on_device.mat(), w, times.mat(), gelu,
                                   way.options, scratch.data()),
                  cudaSuccess);
        const DeviceRows apart(Multiply(x, w, way), kOuts, DType::kF32);
        ASSERT_EQ(LaunchGeluMul(nullptr, apart.mat(), times.mat(), gelu), cudaSuccess);
        EXPECT_EQ(y.Read(), apart.Read());
      }
    }
  }
}

TEST(GatedMatmul, NeedsTwoAlikeThatClampAlike) {
  std::mt19937 random(23);
  const auto packed = [&](Type type, int outs, int cols) {
    return PackedOnDevice(TestWeight(type, outs, cols, random));
  };
  const Weight gate = packed(Type::kQ8_0, 32, 64);
  EXPECT_TRUE(CanGate(gate, packed(Type::kQ8_0, 32, 64)));
  EXPECT_TRUE(CanGate(gate, packed(Type::kQ5_0, 32, 64)));  // has the same format
  EXPECT_FALSE(CanGate(gate, packed(Type::kQ4_0, 32, 64)));
  EXPECT_FALSE(CanGate(gate, packed(Type::kQ8_0, 48, 64)));
  EXPECT_FALSE(CanGate(gate, packed(Type::kQ8_0, 32, 96)));
  Weight clipped = packed(Type::kQ8_0, 32, 64);
  clipped.out_hi = 1;
  EXPECT_TRUE(CanGate(gate, clipped));
  clipped.in_hi = 1;
  EXPECT_FALSE(CanGate(gate, clipped));
  EXPECT_FALSE(CanGate(clipped, gate));
}

TEST(Matmul, OfNoRowsDoesNothing) {
  std::mt19937 random(29);
  const Weight w = PackedOnDevice(TestWeight(Type::kQ4_0, 16, 64, random));
  const Linear linear{{.cols = 16, .pitch = 16}, &w};
  EXPECT_EQ(LaunchMatmuls(nullptr, {&linear, 1}, {.cols = 64, .pitch = 64}, {}, nullptr),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
}

// Every float16 number: it is bfloat16 if that rounds it to itself.
TEST(Pack, MakesFloat16NarrowWhereNothingIsLost) {
  gguf::Tensor tensor{.type = Type::kF16, .dims = {1, 1}, .bytes = 2};
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (!std::isfinite(value)) continue;
    tensor.data = reinterpret_cast<const uint8_t*>(&half);
    const Tiles tiles = NarrowTilesFor(tensor);
    const bool same = BF16ToFloat(FloatToBF16(value)) == value;
    ASSERT_EQ(tiles.format, same ? Format::kBF16 : Format::kF16) << value;
    ASSERT_EQ(tiles.Bytes(), TilesFor(tensor).Bytes());
  }
}

TEST(Pack, OfNarrowFloat16GivesTheSameBits) {
  std::mt19937 random(43);
  TestWeight w(Type::kF16, 40, 96, random);
  for (size_t i = 0; i < w.values.size(); ++i) {
    const uint16_t half = FloatToHalf(BF16ToFloat(FloatToBF16(w.values[i])));
    std::memcpy(&w.bytes[2 * i], &half, sizeof(half));
  }
  ASSERT_EQ(NarrowTilesFor(w.tensor).format, Format::kBF16);
  const Weight narrow = PackedOnDevice(w, NarrowTilesFor(w.tensor)), wide = PackedOnDevice(w);
  for (const size_t rows : {1, 70}) {
    const std::vector<float> x = Normals(rows * 96, 47);
    for (const Way& way : Ways()) EXPECT_EQ(Multiply(x, narrow, way), Multiply(x, wide, way));
  }
}

// Weights of one x, alike or not, give what each gives by itself.
TEST(Matmul, OfSeveralWeightsIsEachOfThem) {
  std::mt19937 random(37);
  const auto packed = [&](Type type, int outs) {
    return PackedOnDevice(TestWeight(type, outs, 256, random));
  };
  std::vector<Weight> weights;
  for (const int outs : {20, 300, 7, 50}) weights.push_back(packed(Type::kQ4_0, outs));
  weights.push_back(packed(Type::kQ6_K, 40));
  for (const int outs : {33, 16}) weights.push_back(packed(Type::kBF16, outs));
  weights[1].out_lo = 0;
  weights[2].in_hi = 1;
  weights[6].out_hi = 0.5f;
  for (const size_t rows : {1, 9, 70}) {
    const std::vector<float> x = Normals(rows * 256, 41);
    for (const Way& way : Ways()) {
      const DeviceRows on_device(x, 256, way.type);
      std::deque<DeviceRows> ys;
      std::vector<Linear> all;
      for (const Weight& w : weights) {
        ys.emplace_back(static_cast<int>(rows), w.rows, DType::kF32, 3);
        all.push_back({ys.back().mat(), &w});
      }
      const DeviceVector<uint16_t> scratch(2 * rows * 256);
      ASSERT_EQ(LaunchMatmuls(nullptr, all, on_device.mat(), way.options, scratch.data()),
                cudaSuccess);
      for (size_t i = 0; i < weights.size(); ++i) {
        EXPECT_EQ(ys[i].Read(), Multiply(x, weights[i], way))
            << way.name << " " << rows << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace softsplice::cuda
