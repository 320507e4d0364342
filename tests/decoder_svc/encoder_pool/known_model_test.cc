#include "decoder_svc/encoder_pool/known_model.h"

#include <gtest/gtest.h>

namespace softsplice {
namespace {

using Verdict = KnownModel::Verdict;

constexpr absl::Duration At(int seconds) { return absl::Seconds(seconds); }

TEST(KnownModel, AdoptsTheFirst) {
  KnownModel model("");
  EXPECT_EQ(model.fingerprint(), "");
  EXPECT_EQ(model.Judge("one", "a", At(0)), Verdict::kAdopted);
  EXPECT_EQ(model.Judge("two", "a", At(0)), Verdict::kSame);
  EXPECT_EQ(model.Judge("three", "b", At(0)), Verdict::kForeign);
  EXPECT_EQ(model.fingerprint(), "a");
}

TEST(KnownModel, AnAbsenceOfAMinuteIsNoChange) {
  KnownModel model("");
  model.Judge("one", "a", At(0));
  for (int second = 0; second <= 60; ++second) {
    EXPECT_EQ(model.Judge("other", "b", At(second)), Verdict::kForeign);
  }
  EXPECT_EQ(model.Judge("one", "a", At(60)), Verdict::kSame);
  EXPECT_EQ(model.Judge("other", "b", At(120)), Verdict::kForeign);
  EXPECT_EQ(model.Judge("other", "b", At(121)), Verdict::kAdopted);
  // No way back: it would flip with every restart.
  EXPECT_EQ(model.Judge("one", "a", At(122)), Verdict::kForeign);
  EXPECT_EQ(model.fingerprint(), "b");
}

TEST(KnownModel, AnEncoderThatIsAnotherNowHoldsNothing) {
  KnownModel model("");
  model.Judge("one", "a", At(0));
  model.Judge("two", "a", At(0));
  EXPECT_EQ(model.Judge("one", "b", At(1)), Verdict::kForeign);
  EXPECT_EQ(model.Judge("two", "b", At(2)), Verdict::kAdopted);
  EXPECT_EQ(model.Judge("one", "b", At(3)), Verdict::kSame);
}

TEST(KnownModel, APinnedOneStays) {
  KnownModel model("p");
  EXPECT_EQ(model.fingerprint(), "p");
  EXPECT_EQ(model.Judge("one", "a", At(0)), Verdict::kForeign);
  EXPECT_EQ(model.Judge("one", "a", At(10000)), Verdict::kForeign);
  EXPECT_EQ(model.Judge("two", "p", At(10000)), Verdict::kSame);
}

TEST(KnownModel, WhoNamesNoneIsForeign) {
  KnownModel model("");
  EXPECT_EQ(model.Judge("one", "", At(0)), Verdict::kForeign);
  EXPECT_EQ(model.fingerprint(), "");
}

}  // namespace
}  // namespace softsplice
