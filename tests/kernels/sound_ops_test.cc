// The ops of sounds that look at more than one row, on every backend against the oracle, and the
// promise that a sound's result does not depend, to the bit, on the others or on the threads.
#include <algorithm>

#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::ExpectNear;
using testing::FloatTensor;
using testing::HostMat;
using testing::kEps;

class SoundOpsTest : public BackendTest {
 protected:
  // The result of op(backend, y, first row, rows, starts) for all runs at once equals, to the bit,
  // that of each run alone on one thread.
  template <class Op>
  void ExpectRunsAreAlone(const std::vector<int>& starts, HostMat& together, Op op) {
    const std::unique_ptr<Backend> one = GetParam().make(1);
    HostMat alone(together.rows(), together.cols(), 5);
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      const int n = starts[i + 1] - starts[i];
      HostMat run = HostMat::Ints({0, n});
      op(*one, alone.view().Rows(starts[i], n), starts[i], n, run.view());
    }
    EXPECT_EQ(alone.bytes(), together.bytes());
  }

  void CompareDepthwise(const std::vector<int>& starts, int cols, int width) {
    SCOPED_TRACE(std::to_string(cols) + " columns, width " + std::to_string(width));
    const int rows = starts.back();
    HostMat x = HostMat::Normal(random_, rows, cols, 3);
    HostMat kernel = HostMat::Normal(random_, cols, width);
    HostMat runs = HostMat::Ints(starts);
    HostMat want(rows, cols, 5);
    HostMat got(rows, cols, 5);
    const auto convolve = [&](Backend& b, Mat y, int first, int n, Mat at) {
      const Weight w = *b.Pack(FloatTensor(kernel), Use::kVector);
      b.DepthwiseConv(y, x.view().Rows(first, n), w, at);
    };
    convolve(*ref_, want.view(), 0, rows, runs.view());
    convolve(*cpu_, got.view(), 0, rows, runs.view());
    // A sum of `width` products, each below 25, in the same order.
    ExpectNear(got, want, 0, static_cast<float>(width) * 25 * kEps, "depthwise");
    ExpectRunsAreAlone(starts, got, convolve);
  }

  void CompareAttention(const std::vector<int>& starts, const LocalAttentionSpec& spec, int dim,
                        float scale = 2) {
    SCOPED_TRACE("dim " + std::to_string(dim) + ", left " + std::to_string(spec.left));
    const int rows = starts.back();
    const int cols = spec.heads * dim;
    const float root = std::sqrt(static_cast<float>(dim));
    HostMat q = HostMat::Normal(random_, rows, cols, 1, scale / root);
    HostMat k = HostMat::Normal(random_, rows, cols, 2);
    HostMat v = HostMat::Normal(random_, rows, cols, 3);
    HostMat relative = HostMat::Normal(random_, spec.left + 1, cols, 4);
    HostMat runs = HostMat::Ints(starts);
    HostMat want(rows, cols, 5);
    HostMat got(rows, cols, 5);
    const auto attend = [&](Backend& b, Mat y, int first, int n, Mat at) {
      b.LocalAttention(y, q.view().Rows(first, n), k.view().Rows(first, n), v.view().Rows(first, n),
                       relative.view(), at, spec);
    };
    attend(*ref_, want.view(), 0, rows, runs.view());
    attend(*cpu_, got.view(), 0, rows, runs.view());
    ASSERT_TRUE(cpu_->Wait().ok());
    // A score is a sum of 2 dim products, each of a q of at most 6 scale / root and a k or r of at
    // most 6; its error, at most doubled by the division, and that of the cap, e^x and the sums
    // apply to values of at most 6.
    const float score = std::sqrt(2.0f * static_cast<float>(dim)) * 36 * scale * 2;
    ExpectNear(got, want, 0, 6 * kEps * (score + 4 * std::min(spec.cap, score) + 40), "attention");
    ExpectRunsAreAlone(starts, got, attend);
  }

  void CompareUnfold(int frames, int bins, int channels) {
    HostMat x = HostMat::Normal(random_, frames, bins * channels, 3);
    const int columns = (bins + 1) / 2;
    const int outputs = (frames + 1) / 2;
    HostMat want(outputs * columns, 9 * channels, 1);
    HostMat got(outputs * columns, 9 * channels, 1);
    ref_->Unfold(want.view(), x.view(), channels, 0);
    // In two parts.
    const int part = outputs / 3 * columns;
    cpu_->Unfold(got.view().Rows(0, part), x.view(), channels, 0);
    cpu_->Unfold(got.view().Rows(part, got.rows() - part), x.view(), channels, outputs / 3);
    ExpectNear(got, want, 0, 0,
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
  for (Backend* b : {ref_.get(), cpu_.get()}) {
    HostMat q = HostMat::Normal(random_, 40, 32);
    HostMat k = HostMat::Normal(random_, 40, 32);
    HostMat relative = HostMat::Normal(random_, 12, 32);
    HostMat y(40, 32);
    HostMat runs = HostMat::Ints({0, 40});
    q(7, 3) = std::numeric_limits<float>::quiet_NaN();
    b->LocalAttention(y.view(), q.view(), k.view(), k.view(), relative.view(), runs.view(),
                      {.heads = 2, .left = 11, .cap = 50});
    EXPECT_TRUE(std::isnan(y(7, 0))) << b->Name();
    EXPECT_FALSE(std::isnan(y(7, 16)) || std::isnan(y(8, 0))) << b->Name();
  }
}

TEST_P(SoundOpsTest, LocalAttentionOfOddHeads) {
  for (const int dim : {1, 3, 8, 16, 20, 32, 33, 72, 128}) {
    CompareAttention(kRuns, {.heads = 3, .left = 11, .cap = 50}, dim);
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
