// Ops that do the work of several others, on every backend, against their definitions and the
// oracle.
#include <deque>

#include "tests/kernels/testing.h"

namespace softsplice::testing {
namespace {

class FusionsTest : public BackendTest {
 protected:
  // What the norm of n numbers of a few units is off by, relatively, if its sum is of any order.
  static float NormError(int n) { return (6 + std::sqrt(static_cast<float>(n))) * kEps; }
};

TEST_P(FusionsTest, AddNormIsItsDefinition) {
  for (const int cols : {1, 7, 16, 33, 70, 2560}) {
    const HostMat gain = HostMat::Normal(random_, 1, cols);
    const HostMat h = HostMat::Normal(random_, 9, cols, 1);
    const HostMat x = HostMat::Normal(random_, 9, cols, 2);
    const auto add_norm = [&](bool fused) {
      return RunOn(*backend_, [&](Device& on) {
        const Mat y = on.Copy(x);
        if (fused) {
          on->AddNorm(y, on.Copy(h), on.Vector(gain), 1e-6f);
        } else {
          on->Backend::AddNorm(y, on.Copy(h), on.Vector(gain), 1e-6f);
        }
        return y;
      });
    };
    // The fused form skips one rounding of the product, which is below 16 here.
    ExpectNear(add_norm(true), add_norm(false), kEps, 16 * kEps, std::to_string(cols));
  }
}

// With this eps no norm is larger than what it is of: normal numbers, which are below 6, times
// gains. An error of the sum is one of its norm, before the gain.
TEST_P(FusionsTest, AddNormNorm) {
  HostMat scale(1, 1);
  scale(0, 0) = -0.8125f;
  for (const int cols : {1, 7, 33, 70, 2560}) {
    const HostMat x = HostMat::Normal(random_, 9, cols, 2),
                  h = HostMat::Normal(random_, 9, cols, 1);
    const HostMat gain = HostMat::Normal(random_, 1, cols),
                  next = HostMat::Normal(random_, 1, cols);
    const float of_sum = 36 * NormError(cols) + 2 * (6 + 36) * kEps;
    for (const bool scaled : {false, true}) {
      for (const bool want_sum : {false, true}) {
        ExpectItsDefinition(of_sum + NormError(cols), 6 * of_sum, std::to_string(cols),
                            [&](Device& on, bool fused) {
                              const Mat sum = on.Copy(x), from = on.Copy(h);
                              const Mat y = scaled ? from : on.New(9, cols, 3);
                              const Weight* by = scaled ? &on.Vector(scale) : nullptr;
                              const Weight &first = on.Vector(gain), &second = on.Vector(next);
                              fused ? on->AddNormNorm(y, sum, from, first, by, second, 1)
                                    : on->Backend::AddNormNorm(y, sum, from, first, by, second, 1);
                              return want_sum ? sum : y;
                            });
      }
    }
  }
}

TEST_P(FusionsTest, HeadNormRope) {
  const std::vector<int> positions = {0, 1, 5, 131071, 77};
  const auto compare = [&](RopeSpec rope, int heads, const HostMat* factors) {
    const HostMat x = HostMat::Normal(random_, 5, heads * rope.head_dim, 3);
    const HostMat gain = HostMat::Normal(random_, 1, rope.head_dim);
    // Two products with a sine or a cosine, each within 2 ulp, and their sum.
    const float absolute = 2 * 36 * (NormError(rope.head_dim) + 5 * kEps);
    ExpectItsDefinition(0, absolute, std::to_string(rope.head_dim), [&](Device& on, bool fused) {
      const Mat y = on.Copy(x), at = on.Ints(positions);
      const Weight& by = on.Vector(gain);
      if (factors != nullptr) rope.factors = &on.Vector(*factors);
      fused ? on->HeadNormRope(y, by, 1, at, rope) : on->Backend::HeadNormRope(y, by, 1, at, rope);
      return y;
    });
  };
  for (int half = 1; half <= 35; ++half) {
    compare({.head_dim = 2 * half, .count = 2 * half}, 3, nullptr);
  }
  compare({.head_dim = 20, .first = 6, .count = 10}, 2, nullptr);
  compare({.head_dim = 256, .count = 256}, 8, nullptr);
  HostMat factors(1, 320);
  for (int i = 0; i < 320; ++i) factors(0, i) = i < 80 ? 1 : 1e30f;
  compare({.head_dim = 640, .count = 640, .base = 1e6f}, 2, &factors);
}

TEST_P(FusionsTest, MatmulAll) {
  constexpr int kCols = 96, kOuts[] = {40, 7, 24};
  for (const int rows : {1, 9, 70}) {
    const HostMat x = HostMat::Normal(random_, rows, kCols);
    std::deque<HostMat> weights;
    for (const int outs : kOuts) weights.push_back(HostMat::Normal(random_, outs, kCols));
    const auto multiply = [&](bool fused) {
      return RunOn(*backend_, [&](Device& on) {
        const Mat y = on.New(rows, 40 + 7 + 24, 3);
        std::vector<Linear> all;
        int first = 0;
        for (const HostMat& w : weights) {
          all.push_back({y.Cols(first, w.rows()), &on.Pack(FloatTensor(w), Use::kLinear)});
          first += w.rows();
        }
        fused ? on->MatmulAll(all, on.Copy(x)) : on->Backend::MatmulAll(all, on.Copy(x));
        return y;
      });
    };
    EXPECT_TRUE(multiply(true) == multiply(false)) << rows;
  }
}

// A product of float32 weights may keep 2^-17 of each number; gelu is not steeper than 1.13.
TEST_P(FusionsTest, MatmulGelu) {
  constexpr int kOuts = 40, kCols = 96;
  const HostMat weights = HostMat::Normal(random_, kOuts, kCols);
  for (const int rows : {1, 9, 70}) {
    const HostMat x = HostMat::Normal(random_, rows, kCols);
    const HostMat times = HostMat::Normal(random_, rows, kOuts, 5);
    const float product = kCols * 36 * (2 * 0x1p-17f + (kCols + 16) * kEps);
    for (const Gelu gelu : {Gelu::kTanh, Gelu::kQuick}) {
      ExpectItsDefinition(
          40 * kEps, 1.13f * 6 * product, std::to_string(rows), [&](Device& on, bool fused) {
            const Mat y = on.New(rows, kOuts, 3), from = on.Copy(x), by = on.Copy(times);
            const Weight& w = on.Pack(FloatTensor(weights), Use::kLinear);
            fused ? on->MatmulGelu(y, from, w, by, gelu)
                  : on->Backend::MatmulGelu(y, from, w, by, gelu);
            return y;
          });
    }
  }
}

// Heads are normed and turned by each axis; scores are far from float32's limits.
TEST_P(FusionsTest, PatchAttention) {
  for (const int dim : {4, 20, 32, 64}) {
    constexpr int kRows = 37, kHeads = 3;
    std::vector<int> columns, rows;
    for (int i = 0; i < kRows; ++i) columns.push_back(i * 7 % 10), rows.push_back(i / 10 * 900);
    const auto numbers = [&] { return HostMat::Normal(random_, kRows, kHeads * dim, 3); };
    const HostMat q = numbers(), k = numbers(), v = numbers();
    const HostMat q_gain = HostMat::Normal(random_, 1, dim, 0, 0.3f),
                  k_gain = HostMat::Normal(random_, 1, dim, 0, 0.3f);
    // A norm is below 6 times its gain, below 2; a score's error is one of dim products.
    const float score = static_cast<float>(dim) * 144 * (NormError(dim) + 20 * kEps);
    ExpectItsDefinition(0, 6 * (2 * score + 60 * kEps), std::to_string(dim),
                        [&](Device& on, bool fused) {
                          const Mat y = on.New(kRows, kHeads * dim, 5), of_q = on.Copy(q),
                                    of_k = on.Copy(k), of_v = on.Copy(v);
                          const PatchAttentionSpec spec{.q_gain = &on.Vector(q_gain),
                                                        .k_gain = &on.Vector(k_gain),
                                                        .eps = 1,
                                                        .columns = on.Ints(columns),
                                                        .rows = on.Ints(rows),
                                                        .starts = on.Ints({0, 5, kRows}),
                                                        .heads = kHeads,
                                                        .rope_base = 100};
                          fused ? on->PatchAttention(y, of_q, of_k, of_v, spec)
                                : on->Backend::PatchAttention(y, of_q, of_k, of_v, spec);
                          return y;
                        });
  }
}

TEST_P(FusionsTest, LayerNormRelu) {
  for (const int cols : {1, 7, 32, 128, 2560}) {
    const HostMat x = HostMat::Normal(random_, 9, cols, 1),
                  gain = HostMat::Normal(random_, 1, cols);
    ExpectItsDefinition(0, 36 * 3 * NormError(cols), std::to_string(cols),
                        [&](Device& on, bool fused) {
                          const Mat y = on.Copy(x);
                          fused ? on->LayerNormRelu(y, on.Vector(gain), 1)
                                : on->Backend::LayerNormRelu(y, on.Vector(gain), 1);
                          return y;
                        });
  }
}

// silu is not steeper than 1.1.
TEST_P(FusionsTest, MatmulSilu) {
  constexpr int kOuts = 40, kCols = 96;
  const HostMat weights = HostMat::Normal(random_, kOuts, kCols);
  for (const int rows : {1, 9, 70}) {
    const HostMat x = HostMat::Normal(random_, rows, kCols);
    const float product = kCols * 36 * (2 * 0x1p-17f + (kCols + 16) * kEps);
    ExpectItsDefinition(10 * kEps, 1.1f * product, std::to_string(rows),
                        [&](Device& on, bool fused) {
                          const Mat y = on.New(rows, kOuts, 3), from = on.Copy(x);
                          const Weight& w = on.Pack(FloatTensor(weights), Use::kLinear);
                          fused ? on->MatmulSilu(y, from, w) : on->Backend::MatmulSilu(y, from, w);
                          return y;
                        });
  }
}

// Norms, which are below 6 with this eps, times gains; silu is not steeper than 1.1.
TEST_P(FusionsTest, GluConv) {
  constexpr int kRows = 40, kWidth = 5;
  for (const int cols : {1, 7, 33, 160, 1024}) {
    const HostMat x = HostMat::Normal(random_, kRows, 2 * cols, 1),
                  kernel = HostMat::Normal(random_, cols, kWidth),
                  gain = HostMat::Normal(random_, 1, cols);
    const float convolved = kWidth * 36 * 12 * kEps;
    ExpectItsDefinition(10 * kEps, 1.1f * 6 * (convolved + 36 * NormError(cols)),
                        std::to_string(cols), [&](Device& on, bool fused) {
                          const Mat y = on.New(kRows, cols, 3), tmp = on.New(kRows, cols),
                                    from = on.Copy(x), starts = on.Ints({0, 3, 4, kRows});
                          const Weight &by = on.Vector(kernel), &gains = on.Vector(gain);
                          fused ? on->GluConv(y, tmp, from, by, gains, 1, starts)
                                : on->Backend::GluConv(y, tmp, from, by, gains, 1, starts);
                          return y;
                        });
  }
}

TEST_P(FusionsTest, ScaledLocalAttention) {
  constexpr int kRows = 40, kLeft = 11;
  for (const int dim : {3, 32}) {
    const auto numbers = [&](int rows) { return HostMat::Normal(random_, rows, 2 * dim, 2); };
    const HostMat q = numbers(kRows), k = numbers(kRows), v = numbers(kRows),
                  relative = numbers(kLeft + 1), scale = HostMat::Normal(random_, 1, dim, 0, 0.1f);
    const float score = static_cast<float>(dim) * 6 * 0.6f * 12;
    ExpectItsDefinition(
        0, 6 * kEps * (4 * score * static_cast<float>(dim) + 40), std::to_string(dim),
        [&](Device& on, bool fused) {
          const Mat y = on.New(kRows, 2 * dim, 1), of_q = on.Copy(q), of_k = on.Copy(k),
                    of_v = on.Copy(v), at = on.Copy(relative), starts = on.Ints({0, 3, kRows});
          const Weight& by = on.Vector(scale);
          const LocalAttentionSpec spec{.heads = 2, .left = kLeft, .cap = 50};
          fused
              ? on->ScaledLocalAttention(y, of_q, of_k, of_v, at, starts, by, 1.5f, spec)
              : on->Backend::ScaledLocalAttention(y, of_q, of_k, of_v, at, starts, by, 1.5f, spec);
          return y;
        });
  }
}

INSTANTIATE_TEST_SUITE_P(All, FusionsTest, ::testing::ValuesIn(Candidates()), NameOf);

}  // namespace
}  // namespace softsplice::testing
