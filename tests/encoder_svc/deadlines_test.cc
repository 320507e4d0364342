#include "encoder_svc/deadlines.h"

#include <vector>

#include "absl/synchronization/notification.h"
#include "common/time/steady.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::ElementsAre;

TEST(Deadlines, ComeInTheirOrderAndNotBeforeTheirTime) {
  std::vector<int> came;
  absl::Notification last;
  const absl::Duration first_time = SteadyNow() + absl::Milliseconds(20),
                       last_time = first_time + absl::Milliseconds(1);
  Deadlines deadlines;
  const int first = 1, second = 2;
  deadlines.Add(&second, last_time, [&] {
    came.push_back(2);
    EXPECT_GE(SteadyNow(), last_time);
    last.Notify();
  });
  deadlines.Add(&first, first_time, [&] {
    came.push_back(1);
    EXPECT_GE(SteadyNow(), first_time);
  });
  EXPECT_TRUE(last.WaitForNotificationWithTimeout(absl::Seconds(30)));
  EXPECT_THAT(came, ElementsAre(1, 2));
}

TEST(Deadlines, ForgetWhatIsRemovedAndWhatNeverComes) {
  const int never = 0, removed = 0, late = 0;
  absl::Notification came;
  {
    Deadlines deadlines;
    const absl::Duration soon = SteadyNow() + absl::Milliseconds(20);
    deadlines.Add(&never, absl::InfiniteDuration(), [] { ADD_FAILURE(); });
    deadlines.Add(&removed, soon, [] { ADD_FAILURE(); });
    deadlines.Remove(&removed, soon);
    deadlines.Remove(&removed, soon);
    deadlines.Add(&late, soon + absl::Milliseconds(1), [&] { came.Notify(); });
    EXPECT_TRUE(came.WaitForNotificationWithTimeout(absl::Seconds(30)));
    deadlines.Add(&late, soon + absl::Hours(1), [] { ADD_FAILURE(); });
  }
}

// What is called may come back.
TEST(Deadlines, CallUnderNoLock) {
  const int owner = 0;
  absl::Notification came;
  Deadlines deadlines;
  const absl::Duration time = SteadyNow();
  deadlines.Add(&owner, time, [&] {
    deadlines.Remove(&owner, time);
    deadlines.Add(&owner, SteadyNow(), [&] { came.Notify(); });
  });
  EXPECT_TRUE(came.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

}  // namespace
}  // namespace softsplice
