// The ops of sounds that look at more than one row, on every backend against the oracle, and the
// promise that a sound's result does not depend, to the bit, on the others or on the threads.
#include <algorithm>

#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::Device;
using testing::ExpectNear;
using testing::HostMat;
using testing::kEps;
using testing::RunOn;

class SoundOpsTest : public BackendTest {
 protected:
  void CompareDepthwise(const std::vector<int>& starts, int cols, int width) {
    SCOPED_TRACE(std::to_string(cols) + " columns, width " + std::to_string(width));
    const HostMat x = HostMat::Normal(random_, starts.back(), cols, 3);
    const HostMat kernel = HostMat::Normal(random_, cols, width);
    // A sum of `width` products, each below 25, in the same order.
    CompareRuns(starts, static_cast<float>(width) * 25 * kEps,
                [&](Device& on, int first, int rows, Mat at) {
                  const Mat y = on.New(rows, cols, 5);
                  on->DepthwiseConv(y, on.Copy(x.Rows(first, rows)), on.Vector(kernel), at);
                  return y;
                });
  }

  void CompareAttention(const std::vector<int>& starts, const LocalAttentionSpec& spec, int dim,
                        float scale = 2, bool dense = false) {
    SCOPED_TRACE("dim " + std::to_string(dim) + ", left " + std::to_string(spec.left));
    const int rows = starts.back();
    const int cols = spec.heads * dim;
    const float root = std::sqrt(static_cast<float>(dim));
    const HostMat q = HostMat::Normal(random_, rows, cols, dense ? 0 : 1, scale / root);
    const HostMat k = HostMat::Normal(random_, rows, cols, dense ? 0 : 2);
    const HostMat v = HostMat::Normal(random_, rows, cols, dense ? 0 : 3);
    const HostMat relative = HostMat::Normal(random_, spec.left + 1, cols, 4);
    // A score is a sum of 2 dim products, each of a q of at most 6 scale / root and a k or r of at
    // most 6; its error, at most doubled by the division, and that of the cap, e^x and the sums
    // apply to values of at most 6.
    const float score = std::sqrt(2.0f * static_cast<float>(dim)) * 36 * scale * 2;
    CompareRuns(starts, 6 * kEps * (score + 4 * std::min(spec.cap, score) + 40),
                [&](Device& on, int first, int n, Mat at) {
                  const Mat y = on.New(n, cols, 5);
                  on->LocalAttention(y, on.Copy(q.Rows(first, n)), on.Copy(k.Rows(first, n)),
                                     on.Copy(v.Rows(first, n)), on.Copy(relative), at, spec);
                  return y;
                });
  }

  void CompareUnfold(int frames, int bins, int channels) {
    const HostMat x = HostMat::Normal(random_, frames, bins * channels, 3);
    const int columns = (bins + 1) / 2;
    const int outputs = (frames + 1) / 2;
    const auto unfold = [&](int part) {
      return [=, &x](Device& on) {
        const Mat from = on.Copy(x);
        const Mat y = on.New(outputs * columns, 9 * channels, 1);
        on->Unfold(y.Rows(0, part * columns), from, channels, 0);
        on->Unfold(y.Rows(part * columns, (outputs - part) * columns), from, channels, part);
        return y;
      };
    };
    ExpectNear(RunOn(*backend_, unfold(outputs / 3)), RunOn(*ref_, unfold(0)), 0, 0,
               std::to_string(frames) + " frames, " + std::to_string(bins) + " bins of " +
                   std::to_string(channels));
  }
};

const std::vector<int> kRuns = {0, 1, 3, 3, 50, 62, 75, 76, 140};

TEST_P(SoundOpsTest, DepthwiseConvOfOddWidthsAndColumns) {
  for (const int cols : {1, 3, 4, 7, 15, 16, 17, 33, 70}) {
    for (const int width : {1, 2, 5}) CompareDepthwise(kRuns, cols, width);
  }
  CompareDepthwise({0, 2, 4}, 96, 31);  // every run shorter than the kernel
  CompareDepthwise({0, 300, 750}, 1024, 5);
}

TEST_P(SoundOpsTest, LocalAttentionKeepsNaN) {
  HostMat q = HostMat::Normal(random_, 40, 32);
  q(7, 3) = std::numeric_limits<float>::quiet_NaN();
  const HostMat k = HostMat::Normal(random_, 40, 32);
  const HostMat relative = HostMat::Normal(random_, 12, 32);
  for (Backend* b : Both()) {
    const HostMat y = RunOn(*b, [&](Device& on) {
      const Mat at = on.New(40, 32);
      const Mat keys = on.Copy(k);
      on->LocalAttention(at, on.Copy(q), keys, keys, on.Copy(relative), on.Ints({0, 40}),
                         {.heads = 2, .left = 11, .cap = 50});
      return at;
    });
    EXPECT_TRUE(std::isnan(y(7, 0))) << b->Name();
    EXPECT_FALSE(std::isnan(y(7, 16)) || std::isnan(y(8, 0))) << b->Name();
  }
}

TEST_P(SoundOpsTest, LocalAttentionOfOddHeads) {
  for (const int dim : {1, 3, 8, 16, 20, 32, 33, 72, 128}) {
    CompareAttention(kRuns, {.heads = 3, .left = 11, .cap = 50}, dim);
  }
}

TEST_P(SoundOpsTest, LocalAttentionOfDenseRows) {
  for (const int dim : {4, 20, 32, 72, 128}) {
    CompareAttention(kRuns, {.heads = 3, .left = 11, .cap = 50}, dim, 2, /*dense=*/true);
  }
}

TEST_P(SoundOpsTest, LocalAttentionOfOddWindows) {
  for (const int left : {0, 1, 3, 4, 7, 15, 16, 17, 200}) {
    CompareAttention(kRuns, {.heads = 2, .left = left, .cap = 50}, 32);
  }
}

// Scores well beyond the cap.
TEST_P(SoundOpsTest, LocalAttentionCaps) {
  CompareAttention(kRuns, {.heads = 2, .left = 11, .cap = 5}, 32, 30);
}

TEST_P(SoundOpsTest, LocalAttentionOfAWholeSound) {
  CompareAttention({0, 750}, {.heads = 8, .left = 11, .cap = 50}, 128);
}

TEST_P(SoundOpsTest, Unfold) {
  for (const int frames : {1, 2, 3, 4, 9, 30}) {
    for (const int bins : {1, 2, 3, 8, 9}) {
      for (const int channels : {1, 2, 17}) CompareUnfold(frames, bins, channels);
    }
  }
  CompareUnfold(301, 128, 1);
  CompareUnfold(40, 64, 128);
}

INSTANTIATE_TEST_SUITE_P(All, SoundOpsTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
