#include "decoder_svc/engine/pace.h"

#include <gtest/gtest.h>

namespace softsplice {
namespace {

TEST(PaceTest, ExpectsNothingBeforeAnythingIsMeasured) {
  const Pace pace;
  EXPECT_EQ(pace.TimeFor(pace.Typical(), 1), absl::ZeroDuration());
  EXPECT_EQ(pace.TimeFor(pace.Left(1000, 1000), 1), absl::ZeroDuration());
}

TEST(PaceTest, AddsUpWhatIsUnreadAndWhatIsUnwritten) {
  Pace pace;
  pace.OnStep(100, absl::Seconds(1));       // 10 ms a prompt row
  pace.OnStep(0, absl::Milliseconds(200));  // a token
  pace.OnEnd(/*prompt_tokens=*/50, /*completion_tokens=*/20);
  EXPECT_EQ(pace.TimeFor(pace.Left(10, 5), 1), absl::Milliseconds(100 + 1000));
  EXPECT_EQ(pace.TimeFor(pace.Left(0, 1000), 1), absl::Seconds(4))
      << "no longer than the average answer";
  EXPECT_EQ(pace.TimeFor(pace.Typical(), 1), absl::Milliseconds(500 + 4000));
}

TEST(PaceTest, AnswersAreWrittenSideBySide) {
  Pace pace;
  pace.OnStep(100, absl::Seconds(1));
  pace.OnStep(0, absl::Milliseconds(200));
  Pace::Work work;
  for (int i = 0; i < 4; ++i) work += pace.Left(10, 5);
  EXPECT_EQ(pace.TimeFor(work, 4), absl::Milliseconds(4 * 100 + 1000));
}

TEST(PaceTest, FollowsWhatChanges) {
  Pace pace;
  pace.OnStep(0, absl::Seconds(1));
  for (int i = 0; i < 100; ++i) pace.OnStep(0, absl::Milliseconds(10));
  EXPECT_LT(pace.TimeFor(pace.Left(0, 1), 1), absl::Milliseconds(11));
}

TEST(PaceTest, RemembersTheBestSpeedOfPrompts) {
  Pace pace;
  EXPECT_EQ(pace.best_rows_per_second(), 0);
  pace.OnStep(100, absl::Seconds(1));
  pace.OnStep(16, absl::Seconds(1));
  pace.OnStep(0, absl::Milliseconds(1));
  EXPECT_EQ(pace.best_rows_per_second(), 100);
  pace.OnStep(512, absl::Seconds(2));
  EXPECT_EQ(pace.best_rows_per_second(), 256);
}

}  // namespace
}  // namespace softsplice
