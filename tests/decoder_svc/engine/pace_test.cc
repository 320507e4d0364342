#include "decoder_svc/engine/pace.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/types/span.h"
#include "decoder_svc/engine/scheduler.h"

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
  pace.OnStep({100}, 0, absl::Seconds(1));      // 10 ms a prompt row
  pace.OnStep({}, 1, absl::Milliseconds(200));  // a token
  pace.OnEnd(/*prompt_tokens=*/50, /*completion_tokens=*/20);
  EXPECT_EQ(pace.TimeFor(pace.Left(10, 5), 1), absl::Milliseconds(100 + 1000));
  EXPECT_EQ(pace.TimeFor(pace.Left(0, 1000), 1), absl::Seconds(4))
      << "no longer than the average answer";
  EXPECT_EQ(pace.TimeFor(pace.Typical(), 1), absl::Milliseconds(500 + 4000));
}

TEST(PaceTest, AnswersAreWrittenSideBySide) {
  Pace pace(kTarget);
  pace.OnStep({100}, 0, absl::Seconds(1));
  pace.OnStep({}, 1, absl::Milliseconds(200));
  Pace::Work work;
  for (int i = 0; i < 4; ++i) work += pace.Left(10, 5);
  EXPECT_EQ(pace.TimeFor(work, 4), absl::Milliseconds(4 * 100 + 1000));
}

TEST(PaceTest, FollowsWhatChanges) {
  Pace pace(kTarget);
  pace.OnStep({}, 1, absl::Seconds(1));
  for (int i = 0; i < 100; ++i) pace.OnStep({}, 1, absl::Milliseconds(10));
  EXPECT_LT(pace.TimeFor(pace.Left(0, 1), 1), absl::Milliseconds(11));
}

TEST(PaceTest, RemembersTheBestSpeedOfPrompts) {
  Pace pace(kTarget);
  EXPECT_EQ(pace.rows_per_second(), 0);
  pace.OnStep({100}, 0, absl::Seconds(1));
  pace.OnStep({16}, 0, absl::Seconds(1));
  pace.OnStep({}, 1, absl::Milliseconds(1));
  EXPECT_EQ(pace.rows_per_second(), 100);
  pace.OnStep({512}, 0, absl::Seconds(2));
  EXPECT_EQ(pace.rows_per_second(), 256);
}

// A machine that takes for a row what it takes at a beginning, and more the farther it is.
struct Machine {
  double row_seconds = 1.0 / 512;
  double growth = 0;  // by each row before it
  double token_seconds = 0.01;
  double slower = 1;
  double scatter = 0;  // of each step's time, up or down
  int hiccup = 0;      // one step in so many takes half as long again; 0: none does

  absl::Duration TimeFor(const PromptRows& read) const {
    return absl::Seconds(slower *
                         (token_seconds + row_seconds * (read.count + growth * read.positions)));
  }
};

// Reads prompts of `length`, two side by side, as the scheduler plans it, while somebody writes.
// Returns what each step took longer than one in which nothing is read.
std::vector<absl::Duration> Stalls(Pace& pace, const Machine& machine, int length, int steps) {
  std::vector<absl::Duration> stalls;
  int first[] = {0, length / 2};
  std::mt19937 chance;
  const absl::Duration idle = machine.TimeFor({});
  pace.OnStep({}, 1, idle);
  for (int i = 0; i < steps; ++i) {
    std::vector<Turn> turns = {{}};
    for (const int at : first) {
      turns.push_back({.prompt_left = length - at, .weight = pace.Weight(at)});
    }
    PlanStep(absl::MakeSpan(turns), {.chunk = 512, .stall_target = kTarget}, pace.rows_per_second(),
             0);
    PromptRows read;
    for (int k = 0; k < 2; ++k) {
      const int64_t rows = turns[k + 1].rows;
      read.count += rows;
      read.positions += rows * first[k] + rows * (rows - 1) / 2;
      first[k] = (first[k] + rows) % length;
    }
    double times = std::uniform_real_distribution(1 - machine.scatter, 1 + machine.scatter)(chance);
    if (machine.hiccup > 0 && i % machine.hiccup == 0) times *= 1.5;
    const absl::Duration took = times * machine.TimeFor(read);
    pace.OnStep(read, 1, took);
    stalls.push_back(took - idle);
  }
  return stalls;
}

double AverageOf(const std::vector<absl::Duration>& stalls) {
  absl::Duration sum;
  for (const absl::Duration stall : stalls) sum += stall;
  return absl::FDivDuration(sum, kTarget) / static_cast<double>(stalls.size());
}

int Late(const std::vector<absl::Duration>& stalls) {
  return absl::c_count_if(stalls, [](absl::Duration stall) { return stall > kTarget; });
}

TEST(PaceTest, UsesTheStallTargetAndKeepsIt) {
  Pace pace(kTarget);
  const auto stalls = Stalls(pace, {}, 8192, 200);
  EXPECT_EQ(Late(stalls), 0);
  EXPECT_GE(AverageOf(stalls), 0.7);
}

TEST(PaceTest, RowsThatCostFourTimesAsMuchFarIntoAPromptAreFewerOfThem) {
  Pace pace(kTarget);
  const Machine machine{.growth = 3.0 / 8192};
  Stalls(pace, machine, 8192, 100);
  const auto stalls = Stalls(pace, machine, 8192, 1000);
  EXPECT_EQ(Late(stalls), 0);
  EXPECT_GE(AverageOf(stalls), 0.7);
  EXPECT_NEAR(pace.Weight(8192), 4, 0.1);
}

TEST(PaceTest, ReadsLessWhereTheMachineIsSlowerAndMoreWhenItIsNot) {
  Pace pace(kTarget);
  Stalls(pace, {}, 8192, 100);
  const auto slow = Stalls(pace, {.slower = 4}, 8192, 1000);
  EXPECT_LE(Late(slow), 5) << "until it is known";
  EXPECT_GE(AverageOf(slow), 0.65);
  const auto fast = Stalls(pace, {}, 8192, 1000);
  EXPECT_EQ(Late(fast), 0);
  EXPECT_GE(AverageOf(fast), 0.6);
}

TEST(PaceTest, OneStepInAHundredIsLateHoweverMuchStepsDiffer) {
  constexpr int kSteps = 10000;
  for (const double scatter : {0.0, 0.1, 0.3}) {
    for (const int hiccup : {0, 50}) {
      SCOPED_TRACE(testing::Message() << scatter << " " << hiccup);
      Pace pace(kTarget);
      const Machine machine{.growth = 3.0 / 8192, .scatter = scatter, .hiccup = hiccup};
      Stalls(pace, machine, 8192, 200);
      const auto stalls = Stalls(pace, machine, 8192, kSteps);
      EXPECT_LE(Late(stalls), kSteps / 100);
      EXPECT_GE(AverageOf(stalls), 0.5);
    }
  }
}

TEST(PaceTest, OneLateStepHalvesItAtMost) {
  Pace pace(kTarget);
  Stalls(pace, {}, 8192, 200);
  const double before = pace.rows_per_second();
  pace.OnStep({100}, 1, absl::Minutes(1));
  EXPECT_GE(pace.rows_per_second(), before / 100);
  const auto stalls = Stalls(pace, {}, 8192, 1000);
  EXPECT_GE(stalls.back(), 0.6 * kTarget);
}

TEST(PaceTest, FewRowsSayNothingOfMany) {
  Pace pace(kTarget);
  Stalls(pace, {.slower = 4}, 8192, 200);
  const double slow = pace.rows_per_second();
  for (int i = 0; i < 5; ++i) pace.OnStep({1}, 1, absl::Milliseconds(45));
  EXPECT_NEAR(pace.rows_per_second(), slow, 0.02 * slow);
}

}  // namespace
}  // namespace softsplice
