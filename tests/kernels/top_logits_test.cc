// TopLogits on every backend, against the oracle: one piece of a row and many, ties, what is not
// finite.
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/specs.h"
#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::Device;
using testing::HostMat;
using testing::kEps;

struct Top {
  HostMat ids, values, stats;
};

class TopLogitsTest : public BackendTest {
 protected:
  static Top Run(Backend& backend, const HostMat& logits) {
    Device on(backend);
    const int count = std::min(logits.cols(), kMostTopLogits);
    const Mat ids = on.New(logits.rows(), count, 2, DType::kI32);
    const Mat values = on.New(logits.rows(), count, 1), stats = on.New(logits.rows(), 2);
    on->TopLogits(ids, values, stats, on.Copy(logits));
    return {*on.Read(ids), *on.Read(values), *on.Read(stats)};
  }
  void Compare(const HostMat& logits) {
    const std::string what = std::to_string(logits.rows()) + "x" + std::to_string(logits.cols());
    const Top got = Run(*backend_, logits), want = Run(*ref_, logits);
    EXPECT_TRUE(got.ids == want.ids) << what;
    EXPECT_TRUE(got.values == want.values) << what;
    for (int r = 0; r < logits.rows(); ++r) {
      EXPECT_EQ(got.stats(r, 0), want.stats(r, 0)) << what;
      // Terms with relative errors under 1e-6 (SumExp), then a sum of two numbers.
      EXPECT_NEAR(got.stats(r, 1), want.stats(r, 1), 2e-6 + kEps * std::fabs(want.stats(r, 1)))
          << what;
    }
    const Top again = Run(*backend_, logits);
    EXPECT_TRUE(again.ids == got.ids && again.values == got.values && again.stats == got.stats);
  }
};

TEST_P(TopLogitsTest, IsLikeRefInPiecesAndAtTheirEnds) {
  for (const int cols : {1, 2, 31, 255, 256, 257, 1000, 4096, 4097, 8192, 16384, 16385, 20500}) {
    Compare(HostMat::Normal(random_, 2, cols, 3, 8));
  }
}

TEST_P(TopLogitsTest, IsLikeRefOverTheWholeVocabulary) {
  for (const int cols : {262144, 270001}) Compare(HostMat::Normal(random_, 1, cols, 0, 5));
}

TEST_P(TopLogitsTest, TakesTheBestWhereverTheyAre) {
  HostMat logits = HostMat::Normal(random_, 3, 40000);
  for (int c = 0; c < logits.cols(); ++c) {
    logits(0, c) = 1e-3f * static_cast<float>(c);
    if (c >= 30000 && c < 31000) logits(1, c) += 10;
    if (c % 1024 == 3) logits(2, c) += 10;
  }
  Compare(logits);
}

TEST_P(TopLogitsTest, GivesTheSmallerOfEqualIds) {
  HostMat logits = HostMat::Normal(random_, 3, 9000);
  for (int r = 0; r < logits.rows(); ++r) {
    for (int c = 0; c < logits.cols(); ++c) logits(r, c) = std::round(logits(r, c));
  }
  Compare(logits);
  // Equal as numbers.
  for (int c = 0; c < logits.cols(); ++c) logits(0, c) = c % 2 == 0 ? -0.0f : 0.0f;
  const Top got = Run(*backend_, logits);
  for (int i = 0; i < kMostTopLogits; ++i) EXPECT_EQ(got.ids.Row<int32_t>(0)[i], i);
}

TEST_P(TopLogitsTest, TakesTheLargestAndTheSmallestNumbers) {
  constexpr float kMost = std::numeric_limits<float>::max();
  HostMat logits = HostMat::Normal(random_, 1, 300, 0, 1e-38f);
  logits(0, 7) = -kMost;
  Compare(logits);
  logits(0, 9) = kMost;
  Compare(logits);
}

TEST_P(TopLogitsTest, TellsOfARowThatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
    for (const int at : {0, 255, 4999}) {
      HostMat logits = HostMat::Normal(random_, 3, 5000);
      const Top good = Run(*backend_, logits);
      logits(1, at) = bad;
      const Top got = Run(*backend_, logits);
      EXPECT_TRUE(std::isnan(got.stats(1, 0)) && std::isnan(got.stats(1, 1))) << bad << " " << at;
      for (const int r : {0, 2}) {
        EXPECT_TRUE(got.ids.Rows(r, 1) == good.ids.Rows(r, 1) &&
                    got.stats.Rows(r, 1) == good.stats.Rows(r, 1))
            << "the rows beside it";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, TopLogitsTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
