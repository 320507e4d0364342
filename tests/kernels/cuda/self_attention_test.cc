// Attention inside runs of rows, on tensor cores and in float32, against the oracle.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/ref/ref_backend.h"
#include "tests/kernels/cuda/attention_testing.h"

namespace softsplice::cuda {
namespace {

using testing::Device;
using testing::HostMat;

class SelfAttentionTest : public ::testing::Test {
 protected:
  HostMat Run(const SelfInputs& in, const std::vector<int>& starts, bool exact = false) {
    return in.Run(*device_, starts, exact);
  }
  void ExpectLikeRef(const SelfInputs& in, const std::vector<int>& starts, bool exact = false) {
    const float dim = static_cast<float>(in.dim);
    const float score = std::sqrt(dim) * LargestNorm(in.q, in.dim) * LargestNorm(in.k, in.dim);
    std::vector<int> seen;
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      seen.resize(static_cast<size_t>(starts[i + 1]), starts[i + 1] - starts[i]);
    }
    ExpectNear(Run(in, starts, exact), in.Reference(*ref_, starts),
               in.Reference(*ref_, starts, /*of_absolutes=*/true),
               {score, std::move(seen), !exact && (in.dim == 32 || in.dim == 64)},
               std::to_string(in.q.rows()) + " rows, head " + std::to_string(in.dim));
  }

  std::unique_ptr<Backend> device_ = *MakeCudaBackend({});
  std::unique_ptr<Backend> ref_ = MakeRefBackend();
};

TEST_F(SelfAttentionTest, TakesAllLengths) {
  for (const int dim : {32, 64}) {
    for (const int rows : {1, 2, 15, 16, 63, 64, 65, 127, 128, 129, 300}) {
      ExpectLikeRef(SelfInputs(rows, 3, dim, 1), {0, rows});
    }
  }
}

TEST_F(SelfAttentionTest, TakesEverythingElsePlainly) {
  for (const int dim : {1, 6, 16, 20, 72, 128})
    ExpectLikeRef(SelfInputs(70, 2, dim, 2), {0, 40, 70});
  ExpectLikeRef(SelfInputs(140, 2, 64, 2), {0, 40, 140}, /*exact=*/true);
}

// Runs of all lengths, also of none, give the oracle's results and what each gives alone.
TEST_F(SelfAttentionTest, KeepsRunsApart) {
  const std::vector<int> starts = {0, 90, 91, 91, 400, 401, 530};
  const SelfInputs in(530, 2, 64, 3);
  ExpectLikeRef(in, starts);
  const HostMat together = Run(in, starts);
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    const int rows = starts[i + 1] - starts[i];
    if (rows == 0) continue;
    SelfInputs alone = in;
    alone.q = in.q.Rows(starts[i], rows);
    alone.k = in.k.Rows(starts[i], rows);
    alone.v = in.v.Rows(starts[i], rows);
    EXPECT_TRUE(Run(alone, {0, rows}) == together.Rows(starts[i], rows)) << "run " << i;
  }
}

TEST_F(SelfAttentionTest, RoundsInputsToFloat16UnlessExact) {
  SelfInputs in(40, 1, 64, 4);
  const HostMat want = Run(in, {0, 40}), exact = Run(in, {0, 40}, true);
  for (HostMat* mat : {&in.q, &in.k, &in.v}) {
    for (int r = 0; r < 40; ++r) {
      for (int c = 0; c < 64; ++c) (*mat)(r, c) *= 1 + 0x1p-13f;
    }
  }
  EXPECT_TRUE(Run(in, {0, 40}) == want);
  EXPECT_FALSE(Run(in, {0, 40}, true) == exact);
}

// Scores far apart, in an order in which the maximum moves with every tile or with none.
TEST_F(SelfAttentionTest, TakesExtremeScores) {
  SelfInputs in(200, 1, 32, 5);
  for (int r = 0; r < 200; ++r) {
    for (int c = 0; c < 32; ++c) {
      in.k(r, c) = static_cast<float>(r);
      in.q(r, c) = r % 2 == 0 ? 1.0f : -1.0f;
    }
  }
  const HostMat y = Run(in, {0, 200});
  for (int r = 0; r < 200; ++r) EXPECT_EQ(y(r, 3), in.v(r % 2 == 0 ? 199 : 0, 3)) << r;
}

// Heads that are normed and turned in one launch are what several ops make of them.
TEST_F(SelfAttentionTest, OfPatchesIsItsDefinition) {
  for (const auto& [rows, heads, dim] : {std::tuple{150, 3, 32}, {37, 5, 64}, {6, 12, 64}}) {
    const SelfInputs in(rows, heads, dim, 7);
    std::mt19937 random(8);
    const HostMat q_gain = HostMat::Normal(random, 1, dim),
                  k_gain = HostMat::Normal(random, 1, dim);
    std::vector<int> columns, of_rows;
    for (int i = 0; i < rows; ++i) columns.push_back(i % 13), of_rows.push_back(i / 13);
    const auto attend = [&](bool fused) {
      Device on(*device_);
      const Mat y = on.New(rows, heads * dim), q = on.Copy(in.q), k = on.Copy(in.k),
                v = on.Copy(in.v);
      const PatchAttentionSpec spec{.q_gain = &on.Vector(q_gain),
                                    .k_gain = &on.Vector(k_gain),
                                    .eps = 1e-6f,
                                    .columns = on.Ints(columns),
                                    .rows = on.Ints(of_rows),
                                    .starts = on.Ints({0, rows / 3, rows}),
                                    .heads = heads,
                                    .rope_base = 100};
      fused ? on->PatchAttention(y, q, k, v, spec) : on->Backend::PatchAttention(y, q, k, v, spec);
      return *on.Read(y);
    };
    EXPECT_TRUE(attend(true) == attend(false)) << rows;
  }
}

TEST_F(SelfAttentionTest, KeepsNaN) {
  SelfInputs in(150, 2, 32, 6);
  in.q(7, 3) = std::numeric_limits<float>::quiet_NaN();
  const HostMat y = Run(in, {0, 150});
  for (int r = 0; r < 150; ++r) {
    for (int c = 0; c < 64; ++c) EXPECT_EQ(std::isnan(y(r, c)), r == 7 && c < 32) << r;
  }
}

}  // namespace
}  // namespace softsplice::cuda
