// What only Matmul reads may be of the backend's Operands(): its numbers are those that there would
// be in float32, each rounded once, and a product of them is the product of float32 ones.
#include <numeric>

#include "common/gguf/half.h"
#include "tests/kernels/test_weight.h"
#include "tests/kernels/testing.h"

namespace softsplice::testing {
namespace {

HostMat BFloat16Of(const HostMat& x, int padding) {
  HostMat rounded(x.rows(), x.cols(), padding, DType::kBF16);
  for (int r = 0; r < x.rows(); ++r) {
    std::transform(x[r], x[r] + x.cols(), rounded.Row<uint16_t>(r), FloatToBF16);
  }
  return rounded;
}

class OperandsTest : public BackendTest {
 protected:
  static constexpr int kPadding = 3;

  // op(on, y) writes y, which is float32 or of Operands().
  void ExpectRoundedOnce(int rows, int cols, const std::string& what,
                         absl::FunctionRef<void(Device& on, Mat y)> op) {
    const auto as = [&](DType type) {
      return RunOn(*fast_, [&](Device& on) {
        const Mat y = on.New(rows, cols, kPadding, type);
        op(on, y);
        return y;
      });
    };
    HostMat want = as(DType::kF32);
    if (fast_->Operands() == DType::kBF16) want = BFloat16Of(want, kPadding);
    EXPECT_TRUE(as(fast_->Operands()) == want) << what;
  }

  // Of the last `rows` of so many positions.
  void CheckAttention(const AttentionSpec& spec, int positions, int rows) {
    const int cols = spec.heads * spec.head_dim, kv_cols = spec.kv_heads * spec.head_dim;
    const HostMat q = HostMat::Normal(random_, rows, cols), k = Keys(positions, kv_cols),
                  v = Keys(positions, kv_cols);
    std::vector<int> last(static_cast<size_t>(rows));
    std::iota(last.begin(), last.end(), positions - rows);
    ExpectRoundedOnce(rows, cols,
                      "head " + std::to_string(spec.head_dim) + ", " + std::to_string(rows) +
                          " of " + std::to_string(positions),
                      [&](Device& on, Mat y) {
                        const RowMap map{on.Ints(std::vector<int>(last.size(), 0)), on.Ints(last)};
                        const KvPages pages{on.Ints({0}), on.Ints({1}), positions};
                        on->Attention(y, on.Copy(q), {on.Copy(k), on.Copy(v)}, map, pages, spec);
                      });
  }
  HostMat Keys(int rows, int cols) {
    const HostMat numbers = HostMat::Normal(random_, rows, cols);
    HostMat keys(rows, cols, 0, DType::kF16);
    for (int r = 0; r < rows; ++r) {
      std::transform(numbers[r], numbers[r] + cols, keys.Row<uint16_t>(r), FloatToHalf);
    }
    return keys;
  }

  std::unique_ptr<Backend> fast_ = Make(kThreads, false);
};

TEST_P(OperandsTest, AreFloat32WhereAllIsExact) { EXPECT_EQ(backend_->Operands(), DType::kF32); }

TEST_P(OperandsTest, Norms) {
  for (const int cols : {1, 7, 33, 2560}) {
    const HostMat x = HostMat::Normal(random_, 5, 2 * cols), h = HostMat::Normal(random_, 5, cols),
                  gain = HostMat::Normal(random_, 1, cols),
                  next = HostMat::Normal(random_, 1, cols);
    const std::string what = std::to_string(cols) + " columns";
    ExpectRoundedOnce(5, 2 * cols, what, [&](Device& on, Mat y) {
      on->RmsNorm(y, on.Copy(x), &on.Vector(gain), 1e-6f, cols);
    });
    ExpectRoundedOnce(5, cols, what, [&](Device& on, Mat y) {
      on->LayerNorm(y, on.Copy(h), on.Vector(gain), 1e-6f);
    });
    ExpectRoundedOnce(5, cols, what, [&](Device& on, Mat y) {
      on->AddNormNorm(y, on.Copy(x).Cols(0, cols), on.Copy(h), on.Vector(gain), nullptr,
                      on.Vector(next), 1e-6f);
    });
  }
}

// On tensor cores: one split, several, prompts; and heads that these do not take.
TEST_P(OperandsTest, Attention) {
  for (const AttentionSpec& spec :
       {AttentionSpec{.heads = 4, .kv_heads = 2, .head_dim = 64},
        AttentionSpec{.heads = 3, .kv_heads = 1, .head_dim = 32, .window = 100},
        AttentionSpec{.heads = 2, .kv_heads = 1, .head_dim = 6}}) {
    for (const int rows : {1, 20}) {
      CheckAttention(spec, 21, rows);
      CheckAttention(spec, 300, rows);
    }
  }
}

TEST_P(OperandsTest, AttentionInsideRuns) {
  for (const int dim : {6, 32}) {
    const HostMat q = HostMat::Normal(random_, 70, 2 * dim),
                  k = HostMat::Normal(random_, 70, 2 * dim),
                  v = HostMat::Normal(random_, 70, 2 * dim),
                  relative = HostMat::Normal(random_, 12, 2 * dim);
    ExpectRoundedOnce(70, 2 * dim, "head " + std::to_string(dim), [&](Device& on, Mat y) {
      on->SelfAttention(y, on.Copy(q), on.Copy(k), on.Copy(v), on.Ints({0, 30, 70}), 2);
    });
    const HostMat gain = HostMat::Normal(random_, 1, dim);
    ExpectRoundedOnce(70, 2 * dim, "head " + std::to_string(dim), [&](Device& on, Mat y) {
      const Mat places = on.Ints(std::vector<int>(70, 3));
      on->PatchAttention(y, on.Copy(q), on.Copy(k), on.Copy(v),
                         {.q_gain = &on.Vector(gain),
                          .k_gain = &on.Vector(gain),
                          .columns = places,
                          .rows = places,
                          .starts = on.Ints({0, 30, 70}),
                          .heads = 2,
                          .rope_base = 100});
    });
    ExpectRoundedOnce(70, 2 * dim, "head " + std::to_string(dim), [&](Device& on, Mat y) {
      on->LocalAttention(y, on.Copy(q), on.Copy(k), on.Copy(v), on.Copy(relative),
                         on.Ints({0, 30, 70}), {.heads = 2, .left = 11, .cap = 50});
    });
  }
}

TEST_P(OperandsTest, Sounds) {
  const HostMat x = HostMat::Normal(random_, 20, 96), kernel = HostMat::Normal(random_, 48, 5),
                gain = HostMat::Normal(random_, 1, 48);
  const TestWeight weight(Type::kQ8_0, 48, 96, random_);
  ExpectRoundedOnce(20, 48, "convolution", [&](Device& on, Mat y) {
    on->GluConv(y, on.New(20, 48), on.Copy(x), on.Vector(kernel), on.Vector(gain), 1e-6f,
                on.Ints({0, 20}));
  });
  ExpectRoundedOnce(20, 48, "silu", [&](Device& on, Mat y) {
    on->MatmulSilu(y, on.Copy(x), on.Pack(weight.tensor, Use::kLinear));
  });
}

TEST_P(OperandsTest, Patches) {
  const HostMat x = HostMat::Normal(random_, 7, 8 * 3);
  ExpectRoundedOnce(4 * 4, 9 * 3, "patches",
                    [&](Device& on, Mat y) { on->Unfold(y, on.Copy(x), 3, 0); });
}

// Weights that one launch takes together, and such as it does not.
TEST_P(OperandsTest, GatedProducts) {
  const TestWeight gate_values(Type::kQ4_0, 48, 96, random_);
  const HostMat x = HostMat::Normal(random_, 5, 96), times = HostMat::Normal(random_, 5, 48);
  for (const Type type : {Type::kQ4_0, Type::kQ8_0}) {
    const TestWeight up_values(type, 48, 96, random_);
    ExpectRoundedOnce(5, 48, Name(type), [&](Device& on, Mat y) {
      on->GatedMatmul(y, on.New(5, 48), on.Copy(x), on.Pack(gate_values.tensor, Use::kLinear),
                      on.Pack(up_values.tensor, Use::kLinear), Gelu::kTanh);
    });
  }
  ExpectRoundedOnce(5, 48, "gate", [&](Device& on, Mat y) {
    on->MatmulGelu(y, on.Copy(x), on.Pack(gate_values.tensor, Use::kLinear), on.Copy(times),
                   Gelu::kTanh);
  });
}

// Few rows and many, clamped and not.
TEST_P(OperandsTest, GiveTheProductsOfFloat32) {
  const TestWeight values(Type::kQ4_0, 48, 96, random_);
  for (const int rows : {1, 5, 70}) {
    const HostMat x = HostMat::Normal(random_, rows, 96);
    for (const float hi : {std::numeric_limits<float>::infinity(), 0.7f}) {
      const auto multiply = [&](DType type) {
        return RunOn(*fast_, [&](Device& on) {
          Weight w = on.Pack(values.tensor, Use::kLinear);
          w.in_hi = hi;
          const Mat y = on.New(rows, 48);
          on->Matmul(y, on.Copy(type == DType::kBF16 ? BFloat16Of(x, 0) : x), w);
          return y;
        });
      };
      EXPECT_TRUE(multiply(fast_->Operands()) == multiply(DType::kF32)) << rows << " " << hi;
    }
  }
}

// A matrix that is clamped when it is written gives the products of weights that clamp what they
// read; products of two weights in one launch those of two launches.
TEST_P(OperandsTest, AreClampedWhereTheyAreWritten) {
  const HostMat gain = HostMat::Normal(random_, 1, 96);
  const TestWeight values(Type::kBF16, 48, 96, random_), up_values(Type::kBF16, 48, 96, random_);
  for (const int rows : {1, 5, 70}) {
    const HostMat x = HostMat::Normal(random_, rows, 96);
    const auto multiply = [&](bool early, bool gated) {
      return RunOn(*fast_, [&](Device& on) {
        Weight w = on.Pack(values.tensor, Use::kLinear);
        w.in_lo = -0.9f, w.in_hi = 0.7f, w.out_lo = -3, w.out_hi = 2.5f;
        Weight up = on.Pack(up_values.tensor, Use::kLinear);
        up.in_lo = w.in_lo, up.in_hi = w.in_hi, up.out_lo = -2, up.out_hi = 4;
        Mat normed = on.New(rows, 96, 0, fast_->Operands());
        if (early) normed = ReadBy(normed, {&w, &up});
        on->RmsNorm(normed, on.Copy(x), &on.Vector(gain), 1e-6f);
        const Mat y = on.New(rows, 48), tmp = on.New(rows, 48);
        if (gated && early) {
          on->GatedMatmul(y, tmp, normed, w, up, Gelu::kTanh);
        } else if (gated) {
          on->Backend::GatedMatmul(y, tmp, normed, w, up, Gelu::kTanh);
        } else {
          on->MatmulAll({{y, &w}}, normed);
        }
        return y;
      });
    };
    for (const bool gated : {false, true}) {
      EXPECT_TRUE(multiply(true, gated) == multiply(false, gated)) << rows << " " << gated;
    }
  }
}

TEST_P(OperandsTest, OfWeightsThatDifferAreNotClamped) {
  Weight a, b;
  a.in_hi = 1, b.in_hi = 2;
  Mat x{.type = DType::kBF16};
  EXPECT_EQ(ReadBy(x, {&a}).hi, 1);
  EXPECT_EQ(ReadBy(x, {&a, &b}).hi, x.hi);
  x.type = DType::kF32;
  EXPECT_EQ(ReadBy(x, {&a}).hi, x.hi);
}

TEST_P(OperandsTest, RowsAreGathered) {
  const HostMat x = HostMat::Normal(random_, 9, 35);
  ExpectRoundedOnce(3, 35, "rows", [&](Device& on, Mat y) {
    const Mat from = on.Copy(y.type == DType::kBF16 ? BFloat16Of(x, 1) : x);
    on->GatherRows(y, from, on.Ints({8, 0, 5}));
  });
}

INSTANTIATE_TEST_SUITE_P(All, OperandsTest, ::testing::ValuesIn(Candidates()), NameOf);

}  // namespace
}  // namespace softsplice::testing
