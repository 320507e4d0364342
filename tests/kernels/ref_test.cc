// The oracle itself against values worked out by hand or in double, from the formulas.
#include <numeric>

#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::Device;
using testing::FloatTensor;
using testing::HostMat;
using testing::kEps;

HostMat MatOf(const std::vector<std::vector<float>>& rows) {
  HostMat mat(static_cast<int>(rows.size()), static_cast<int>(rows[0].size()), 1);
  for (int r = 0; r < mat.rows(); ++r) {
    for (int c = 0; c < mat.cols(); ++c) {
      mat(r, c) = rows[static_cast<size_t>(r)][static_cast<size_t>(c)];
    }
  }
  return mat;
}

class RefTest : public ::testing::Test {
 protected:
  HostMat Read(Mat mat) { return *on_.Read(mat); }

  std::unique_ptr<Backend> ref_ = MakeRefBackend();
  Device on_{*ref_};
  std::mt19937 random_{7};
};

TEST_F(RefTest, MatmulClampsInputsAndOutputs) {
  HostMat weights(2, 3);  // [[1, 2, 3], [-1, 0, 4]]
  const float values[] = {1, 2, 3, -1, 0, 4};
  for (int i = 0; i < 6; ++i) weights(i / 3, i % 3) = values[i];
  Weight w = on_.Pack(FloatTensor(weights), Use::kLinear);
  EXPECT_EQ(w.rows, 2);
  EXPECT_EQ(w.cols, 3);
  const Mat x = on_.Copy(MatOf({{1, 2, 3}, {-5, 0.5f, 10}}));
  const Mat out = on_.New(2, 2, 1);
  on_->Matmul(out, x, w);
  HostMat y = Read(out);
  EXPECT_EQ(y(0, 0), 14);
  EXPECT_EQ(y(0, 1), 11);
  EXPECT_EQ(y(1, 0), 26);
  EXPECT_EQ(y(1, 1), 45);
  w.in_lo = -1;
  w.in_hi = 2;
  w.out_lo = 7.5f;
  w.out_hi = 8.5f;
  on_->Matmul(out, x, w);
  y = Read(out);
  EXPECT_EQ(y(0, 0), 8.5f);  // 1 + 4 + 6 = 11
  EXPECT_EQ(y(0, 1), 7.5f);  // -1 + 8 = 7
  EXPECT_EQ(y(1, 0), 7.5f);  // -1 + 1 + 6 = 6
  EXPECT_EQ(y(1, 1), 8.5f);  // 1 + 8 = 9
}

TEST_F(RefTest, RmsNorm) {
  const Mat x = on_.Copy(MatOf({{3, 4, 1, -1}}));
  HostMat dense(1, 2);
  dense(0, 0) = 2;
  dense(0, 1) = 0.5f;
  const Mat out = on_.New(1, 4);
  on_->RmsNorm(out, x, &on_.Vector(dense), 0, 2);
  HostMat y = Read(out);
  const double root = std::sqrt(12.5);  // mean of 9 and 16
  EXPECT_NEAR(y(0, 0), 3 / root * 2, 4 * kEps);
  EXPECT_NEAR(y(0, 1), 4 / root * 0.5, 4 * kEps);
  EXPECT_NEAR(y(0, 2), 2, 4 * kEps);
  EXPECT_NEAR(y(0, 3), -0.5, 4 * kEps);
  on_->RmsNorm(out, x, nullptr, 0.25f, 0);
  y = Read(out);
  EXPECT_NEAR(y(0, 1), 4 / std::sqrt(27.0 / 4 + 0.25), 8 * kEps);
}

TEST_F(RefTest, RopeRotatesPairsHalfAHeadApart) {
  // Two heads of 6; dims [1, 5) rotate as pairs (1, 3) and (2, 4); base 100: frequencies 1 and 0.1,
  // the second divided by 2.
  const Mat rotated = on_.Copy(MatOf({{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}));
  HostMat factors(1, 2);
  factors(0, 0) = 1;
  factors(0, 1) = 2;
  on_->Rope(rotated, on_.Ints({3}),
            {.head_dim = 6, .first = 1, .count = 4, .base = 100, .factors = &on_.Vector(factors)});
  const HostMat x = Read(rotated);
  const double fast = 3;
  const double slow = 0.15;
  const double want[] = {1,
                         2 * std::cos(fast) - 4 * std::sin(fast),
                         3 * std::cos(slow) - 5 * std::sin(slow),
                         4 * std::cos(fast) + 2 * std::sin(fast),
                         5 * std::cos(slow) + 3 * std::sin(slow),
                         6,
                         7,
                         8 * std::cos(fast) - 10 * std::sin(fast),
                         9 * std::cos(slow) - 11 * std::sin(slow),
                         10 * std::cos(fast) + 8 * std::sin(fast),
                         11 * std::cos(slow) + 9 * std::sin(slow),
                         12};
  for (int c = 0; c < 12; ++c) EXPECT_NEAR(x(0, c), want[c], 20 * kEps) << c;
}

TEST_F(RefTest, Gelu) {
  for (const float value : {-8.0f, -1.0f, -0.1f, 0.0f, 0.5f, 3.0f}) {
    const double x = value;
    const Mat up = on_.Copy(MatOf({{2}}));
    const Mat tanh = on_.Copy(MatOf({{value}}));
    on_->GeluMul(tanh, up, Gelu::kTanh);
    const double inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    EXPECT_NEAR(Read(tanh)(0, 0), x * (1 + std::tanh(inner)), 16 * kEps);
    const Mat quick = on_.Copy(MatOf({{value}}));
    on_->GeluMul(quick, up, Gelu::kQuick);
    EXPECT_NEAR(Read(quick)(0, 0), 2 * x / (1 + std::exp(-1.702 * x)), 16 * kEps);
  }
}

TEST_F(RefTest, Softcap) {
  const Mat capped = on_.Copy(MatOf({{-100, 15, 0.25f}}));
  on_->Softcap(capped, 30);
  const HostMat x = Read(capped);
  EXPECT_NEAR(x(0, 0), 30 * std::tanh(-100.0 / 30), 60 * kEps);
  EXPECT_NEAR(x(0, 1), 30 * std::tanh(0.5), 60 * kEps);
  EXPECT_NEAR(x(0, 2), 30 * std::tanh(0.25 / 30), 2 * kEps);
}

TEST_F(RefTest, AveragePool) {
  // A 2 x 4 grid of one channel: two tiles side by side.
  const Mat out = on_.New(2, 1, 1);
  on_->AveragePool(out, on_.Copy(MatOf({{1}, {2}, {3}, {4}, {5}, {6}, {7}, {9}})), 4, 2);
  const HostMat y = Read(out);
  EXPECT_EQ(y(0, 0), 3.5f);   // 1 2 5 6
  EXPECT_EQ(y(1, 0), 5.75f);  // 3 4 7 9
}

// softmax(q k^T) v in double, of the positions in sight.
std::vector<double> AttendInDouble(const std::vector<std::vector<double>>& keys,
                                   const std::vector<std::vector<double>>& values,
                                   const std::vector<double>& q) {
  std::vector<double> out(q.size(), 0);
  double total = 0;
  for (size_t p = 0; p < keys.size(); ++p) {
    const double weight = std::exp(std::inner_product(q.begin(), q.end(), keys[p].begin(), 0.0));
    total += weight;
    for (size_t i = 0; i < q.size(); ++i) out[i] += weight * values[p][i];
  }
  for (double& v : out) v /= total;
  return out;
}

// Positions go where the table says; the window and causality hide the others; heads share keys.
TEST_F(RefTest, AttentionOverAPagedRing) {
  constexpr int kDim = 3;
  constexpr int kWindow = 4;
  constexpr int kPositions = 11;
  // One sequence (number 1 of 2) with a ring of three blocks of two rows.
  HostMat table(2, 3, 0, DType::kI32);
  const int blocks[] = {4, 0, 3};
  std::copy_n(blocks, 3, table.Row<int32_t>(1));
  const KvPages pages{on_.Copy(table), on_.Ints({0, 3}), 2};
  const KvLayer kv{on_.New(10, 2 * kDim, 1), on_.New(10, 2 * kDim, 1)};
  const HostMat k = HostMat::Normal(random_, kPositions, 2 * kDim);
  const HostMat v = HostMat::Normal(random_, kPositions, 2 * kDim);
  const HostMat q = HostMat::Normal(random_, kPositions, 4 * kDim);
  for (int p = 0; p < kPositions; ++p) {
    const RowMap map{on_.Ints({1}), on_.Ints({p})};
    on_->KvAppend(kv, on_.Copy(k.Rows(p, 1)), on_.Copy(v.Rows(p, 1)), map, pages);
    EXPECT_EQ(Read(kv.k)(blocks[p / 2 % 3] * 2 + p % 2, 4), k(p, 4));
    const Mat out = on_.New(1, 4 * kDim);
    on_->Attention(out, on_.Copy(q.Rows(p, 1)), kv, map, pages,
                   {.heads = 4, .kv_heads = 2, .head_dim = kDim, .window = kWindow});
    const HostMat y = Read(out);
    for (int head = 0; head < 4; ++head) {
      std::vector<std::vector<double>> keys;
      std::vector<std::vector<double>> values;
      for (int seen = std::max(0, p - 3); seen <= p; ++seen) {
        keys.emplace_back();
        values.emplace_back();
        for (int i = 0; i < kDim; ++i) {
          keys.back().push_back(k(seen, head / 2 * kDim + i));
          values.back().push_back(v(seen, head / 2 * kDim + i));
        }
      }
      std::vector<double> query;
      for (int i = 0; i < kDim; ++i) query.push_back(q(p, head * kDim + i));
      const std::vector<double> want = AttendInDouble(keys, values, query);
      for (int i = 0; i < kDim; ++i) {
        EXPECT_NEAR(y(0, head * kDim + i), want[static_cast<size_t>(i)], 64 * kEps);
      }
    }
  }
}

TEST_F(RefTest, SelfAttentionStaysInsideItsRun) {
  constexpr int kDim = 2;
  const HostMat q = HostMat::Normal(random_, 7, 2 * kDim);
  const HostMat k = HostMat::Normal(random_, 7, 2 * kDim);
  const HostMat v = HostMat::Normal(random_, 7, 2 * kDim);
  const Mat out = on_.New(7, 2 * kDim);
  on_->SelfAttention(out, on_.Copy(q), on_.Copy(k), on_.Copy(v), on_.Ints({0, 3, 7}), 2);
  const HostMat y = Read(out);
  for (int r = 0; r < 7; ++r) {
    for (int column = 0; column < 2 * kDim; column += kDim) {
      std::vector<std::vector<double>> keys;
      std::vector<std::vector<double>> values;
      for (int p = r < 3 ? 0 : 3; p < (r < 3 ? 3 : 7); ++p) {
        keys.push_back({k(p, column), k(p, column + 1)});
        values.push_back({v(p, column), v(p, column + 1)});
      }
      const std::vector<double> want =
          AttendInDouble(keys, values, {q(r, column), q(r, column + 1)});
      EXPECT_NEAR(y(r, column), want[0], 64 * kEps);
      EXPECT_NEAR(y(r, column + 1), want[1], 64 * kEps);
    }
  }
}

// Two channels over a grid of 3 frames and 3 bins: the value is 100 * channel + 10 * frame + bin
// + 1.
TEST_F(RefTest, UnfoldTakesPatchesWithZeroesAround) {
  HostMat x(3, 6, 1);
  for (int i = 0; i < 18; ++i) {
    x(i / 6, i % 6) = static_cast<float>(100 * (i % 2) + 10 * (i / 6) + i % 6 / 2 + 1);
  }
  const Mat from = on_.Copy(x);
  const Mat out = on_.New(4, 18, 1);
  on_->Unfold(out, from, 2, 0);
  const HostMat y = Read(out);
  const float top_left[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 101, 2, 102, 0, 0, 11, 111, 12, 112};
  const float bottom_right[] = {12, 112, 13, 113, 0, 0, 22, 122, 23, 123, 0, 0, 0, 0, 0, 0, 0, 0};
  for (int c = 0; c < 18; ++c) {
    EXPECT_EQ(y(0, c), top_left[c]) << c;
    EXPECT_EQ(y(3, c), bottom_right[c]) << c;
  }
  const Mat half = on_.New(2, 18);
  on_->Unfold(half, from, 2, 1);
  const HostMat second = Read(half);
  for (int c = 0; c < 18; ++c) {
    EXPECT_EQ(second(0, c), y(2, c)) << c;
    EXPECT_EQ(second(1, c), y(3, c)) << c;
  }
}

TEST_F(RefTest, LayerNorm) {
  HostMat gain(1, 4);
  for (int c = 0; c < 4; ++c) gain(0, c) = static_cast<float>(c - 1);
  const Mat out = on_.New(1, 4);
  on_->LayerNorm(out, on_.Copy(MatOf({{1, 2, 3, 6}})), on_.Vector(gain), 0.5f);
  const HostMat y = Read(out);
  const double root = std::sqrt(3.5 + 0.5);  // mean 3; squares 4, 1, 0, 9
  EXPECT_NEAR(y(0, 0), 2 / root, 4 * kEps);
  EXPECT_EQ(y(0, 1), 0);
  EXPECT_EQ(y(0, 2), 0);
  EXPECT_NEAR(y(0, 3), 2 * 3 / root, 4 * kEps);
}

TEST_F(RefTest, Activations) {
  const HostMat x = MatOf({{-2, 0, 3, -1}});
  const Mat positive = on_.Copy(x);
  on_->Relu(positive);
  const HostMat relu = Read(positive);
  const Mat weighted = on_.Copy(x);
  on_->Silu(weighted);
  const HostMat silu = Read(weighted);
  const double inputs[] = {-2, 0, 3, -1};
  for (int c = 0; c < 4; ++c) {
    EXPECT_EQ(relu(0, c), std::max(0.0, inputs[c]));
    EXPECT_NEAR(silu(0, c), inputs[c] / (1 + std::exp(-inputs[c])), 8 * kEps);
  }
  const Mat out = on_.New(1, 2);
  on_->Glu(out, on_.Copy(x));
  const HostMat y = Read(out);
  EXPECT_NEAR(y(0, 0), -2 / (1 + std::exp(-3.0)), 4 * kEps);
  EXPECT_EQ(y(0, 1), 0);
}

TEST_F(RefTest, VectorsAreAddedAndMultipliedToEveryRow) {
  const Mat at = on_.Copy(MatOf({{1, 2, 3, 4}, {5, 6, 7, 8}}));
  HostMat four(1, 4);
  for (int c = 0; c < 4; ++c) four(0, c) = static_cast<float>(10 * c);
  on_->AddVector(at, on_.Vector(four));
  HostMat x = Read(at);
  EXPECT_EQ(x(0, 3), 34);
  EXPECT_EQ(x(1, 1), 16);
  HostMat two(1, 2);
  two(0, 0) = 2;
  two(0, 1) = -1;
  on_->MulVector(at, on_.Vector(two));
  x = Read(at);
  EXPECT_EQ(x(0, 0), 2);
  EXPECT_EQ(x(0, 3), -34);
  EXPECT_EQ(x(1, 2), 54);
}

TEST_F(RefTest, DepthwiseConvSeesOnlyItsRunAndItsColumn) {
  const HostMat x = MatOf({{1, 10}, {2, 20}, {3, 30}, {4, 40}});
  HostMat kernel(2, 3);  // of column 0: 100, 10, 1; of column 1: 0, 0, 2
  const float values[] = {100, 10, 1, 0, 0, 2};
  for (int i = 0; i < 6; ++i) kernel(i / 3, i % 3) = values[i];
  const Mat out = on_.New(4, 2, 1);
  on_->DepthwiseConv(out, on_.Copy(x), on_.Vector(kernel), on_.Ints({0, 3, 3, 4}));
  const HostMat y = Read(out);
  const float want[] = {1, 12, 123, 4};
  for (int r = 0; r < 4; ++r) {
    EXPECT_EQ(y(r, 0), want[r]);
    EXPECT_EQ(y(r, 1), 2 * x(r, 1));
  }
}

// Two heads of one dimension, two rows before: every score worked out in double.
TEST_F(RefTest, LocalAttentionCapsScoresAndKnowsDistances) {
  const HostMat q = HostMat::Normal(random_, 6, 2);
  const HostMat k = HostMat::Normal(random_, 6, 2);
  const HostMat v = HostMat::Normal(random_, 6, 2);
  const HostMat relative = MatOf({{0.5f, -1}, {2, 0.25f}, {-3, 1}});
  const Mat out = on_.New(6, 2);
  on_->LocalAttention(out, on_.Copy(q), on_.Copy(k), on_.Copy(v), on_.Copy(relative),
                      on_.Ints({0, 4, 6}), {.heads = 2, .left = 2, .cap = 1.5f});
  const HostMat y = Read(out);
  const std::vector<std::vector<int>> seen = {{0}, {0, 1}, {0, 1, 2}, {1, 2, 3}, {4}, {4, 5}};
  for (int r = 0; r < 6; ++r) {
    for (int h = 0; h < 2; ++h) {
      double total = 0;
      double sum = 0;
      for (const int p : seen[static_cast<size_t>(r)]) {
        const double score = double{q(r, h)} * k(p, h) + double{q(r, h)} * relative(r - p, h);
        const double weight = std::exp(1.5 * std::tanh(score / 1.5));
        total += weight;
        sum += weight * v(p, h);
      }
      EXPECT_NEAR(y(r, h), sum / total, 32 * kEps) << r << " " << h;
    }
  }
}

TEST_F(RefTest, HalfCachesRoundToNearestEven) {
  const Mat cache = on_.New(1, 4, 0, DType::kF16);
  const Mat x = on_.Copy(MatOf({{1 + 0x1p-11f, 1 + 0x1.8p-10f, 0x1.8p-24f, -70000}}));
  const Mat zero = on_.Ints({0});
  on_->KvAppend({cache, cache}, x, x, {zero, zero}, {zero, on_.Ints({1}), 1});
  const HostMat stored = Read(cache);
  const uint16_t* halves = stored.Row<uint16_t>(0);
  EXPECT_EQ(halves[0], 0x3c00);
  EXPECT_EQ(halves[1], 0x3c02);
  EXPECT_EQ(halves[2], 0x0002);
  EXPECT_EQ(halves[3], 0xfc00);
}

}  // namespace
}  // namespace softsplice
