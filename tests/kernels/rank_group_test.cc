// Work on several ranks: all of it, the first error, a rank that hangs.
#include "kernels/rank_group.h"

#include <array>
#include <atomic>
#include <memory>

#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/event.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Minutes(10);

void Ignore(int, const absl::Status&) {}

TEST(RankGroup, RunsTheSameOnAllRanks) {
  std::array<int, 4> runs = {};
  RankGroup group(4, Ignore, kLong);
  for (int round = 0; round < 3; ++round) {
    const absl::Status status = group.Run([&](int rank) {
      ++runs[static_cast<size_t>(rank)];
      return absl::OkStatus();
    });
    EXPECT_EQ(status, absl::OkStatus());
  }
  EXPECT_EQ(runs, (std::array<int, 4>{3, 3, 3, 3}));
}

// The one that fails has the others' waiting ended, whose errors are echoes.
TEST(RankGroup, TellsTheErrorOfTheRankThatFailed) {
  for (const int failing : {0, 1}) {
    std::array<Event, 2> aborted;
    const auto abort = [&](int rank, const absl::Status&) {
      aborted[static_cast<size_t>(rank)].Notify();
    };
    RankGroup group(2, abort, kLong);
    const absl::Status status = group.Run([&](int rank) -> absl::Status {
      if (rank == failing) return absl::InternalError("out of luck");
      aborted[static_cast<size_t>(rank)].WaitForNotification();
      return absl::InternalError("aborted");
    });
    EXPECT_EQ(status, absl::InternalError("out of luck"));
    EXPECT_EQ(group.Run([](int) { return absl::OkStatus(); }), status) << "for good";
    EXPECT_EQ(group.error(), status);
  }
}

// It waits neither for the rank nor, at its end, for the thread.
TEST(RankGroup, DoesNotWaitForARankThatHangs) {
  const auto go_on = std::make_shared<Event>(), gone = std::make_shared<Event>();
  std::atomic<int> aborted = 0;
  {
    RankGroup group(
        2, [&](int, const absl::Status&) { ++aborted; }, absl::Milliseconds(20));
    const RankGroup::Work work = [go_on, gone](int rank) {
      if (rank == 0) return absl::OkStatus();
      go_on->WaitForNotification();
      gone->Notify();
      return absl::OkStatus();
    };
    const absl::Status status = group.Run(work);
    EXPECT_EQ(GetErrorDetail(status).reason, "RANK_FAILED");
    EXPECT_THAT(status.message(), HasSubstr("rank 1 hangs"));
    EXPECT_EQ(aborted, 2);
    EXPECT_EQ(group.Run(work), status);
  }
  go_on->Notify();
  gone->WaitForNotification();
}

}  // namespace
}  // namespace softsplice
