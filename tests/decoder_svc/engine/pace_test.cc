#include "decoder_svc/engine/pace.h"

#include <gtest/gtest.h>

namespace softsplice {
namespace {

constexpr absl::Duration kTarget = absl::Milliseconds(300);

TEST(PaceTest, ExpectsNothingBeforeAnythingIsMeasured) {
  const Pace pace(kTarget);
  EXPECT_EQ(pace.TimeFor(pace.Typical(), 1), absl::ZeroDuration());
  EXPECT_EQ(pace.TimeFor(pace.Left(1000, 1000), 1), absl::ZeroDuration());
}

TEST(PaceTest, AddsUpWhatIsUnreadAndWhatIsUnwritten) {
  Pace pace(kTarget);
  pace.OnStep(100, 0, absl::Seconds(1));       // 10 ms a prompt row
  pace.OnStep(0, 1, absl::Milliseconds(200));  // a token
  pace.OnEnd(/*prompt_tokens=*/50, /*completion_tokens=*/20);
  EXPECT_EQ(pace.TimeFor(pace.Left(10, 5), 1), absl::Milliseconds(100 + 1000));
  EXPECT_EQ(pace.TimeFor(pace.Left(0, 1000), 1), absl::Seconds(4))
      << "no longer than the average answer";
  EXPECT_EQ(pace.TimeFor(pace.Typical(), 1), absl::Milliseconds(500 + 4000));
}

TEST(PaceTest, AnswersAreWrittenSideBySide) {
  Pace pace(kTarget);
  pace.OnStep(100, 0, absl::Seconds(1));
  pace.OnStep(0, 1, absl::Milliseconds(200));
  Pace::Work work;
  for (int i = 0; i < 4; ++i) work += pace.Left(10, 5);
  EXPECT_EQ(pace.TimeFor(work, 4), absl::Milliseconds(4 * 100 + 1000));
}

TEST(PaceTest, FollowsWhatChanges) {
  Pace pace(kTarget);
  pace.OnStep(0, 1, absl::Seconds(1));
  for (int i = 0; i < 100; ++i) pace.OnStep(0, 1, absl::Milliseconds(10));
  EXPECT_LT(pace.TimeFor(pace.Left(0, 1), 1), absl::Milliseconds(11));
}

TEST(PaceTest, RemembersTheBestSpeedOfPrompts) {
  Pace pace(kTarget);
  EXPECT_EQ(pace.rows_per_second(), 0);
  pace.OnStep(100, 0, absl::Seconds(1));
  pace.OnStep(16, 0, absl::Seconds(1));
  pace.OnStep(0, 1, absl::Milliseconds(1));
  EXPECT_EQ(pace.rows_per_second(), 100);
  pace.OnStep(512, 0, absl::Seconds(2));
  EXPECT_EQ(pace.rows_per_second(), 256);
}

// Of `rows_per_second`, beside somebody who writes a token in 10 ms.
void Read(Pace& pace, double rows_per_second, int steps) {
  for (int i = 0; i < steps; ++i) {
    const int rows = static_cast<int>(pace.rows_per_second() * absl::ToDoubleSeconds(kTarget));
    pace.OnStep(rows, 1, absl::Milliseconds(10) + absl::Seconds(rows / rows_per_second));
  }
}

TEST(PaceTest, ReadsLessWhereRowsTakeLonger) {
  Pace pace(kTarget);
  pace.OnStep(0, 1, absl::Milliseconds(10));
  pace.OnStep(512, 0, absl::Seconds(1));
  Read(pace, 512, 10);
  EXPECT_EQ(pace.rows_per_second(), 512);
  Read(pace, 100, 10);
  EXPECT_LE(pace.rows_per_second(), 102) << "and the rows are whole ones";
  EXPECT_GE(pace.rows_per_second(), 85);
  Read(pace, 400, 100);
  EXPECT_LE(pace.rows_per_second(), 400);
  EXPECT_GE(pace.rows_per_second(), 340);
}

TEST(PaceTest, OneLateStepHalvesItAtMost) {
  Pace pace(kTarget);
  pace.OnStep(512, 0, absl::Seconds(1));
  pace.OnStep(100, 1, absl::Minutes(1));
  EXPECT_EQ(pace.rows_per_second(), 256);
  Read(pace, 512, 30);
  EXPECT_GE(pace.rows_per_second(), 450);
}

TEST(PaceTest, FewRowsSayNothingOfMany) {
  Pace pace(kTarget);
  pace.OnStep(512, 0, absl::Seconds(1));
  Read(pace, 100, 10);
  const double slow = pace.rows_per_second();
  for (int i = 0; i < 100; ++i) pace.OnStep(3, 1, absl::Milliseconds(11));
  EXPECT_EQ(pace.rows_per_second(), slow);
}

}  // namespace
}  // namespace softsplice
