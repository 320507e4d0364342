#include "common/workers/short_turns.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

namespace softsplice {
namespace {

SchedAttr Attributes() {
  SchedAttr attr;
  EXPECT_EQ(syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0), 0);
  return attr;
}

TEST(TakeShortTurns, ChangesNothingButTheLengthOfThisThreadsTurns) {
  const SchedAttr others = Attributes();
  if (others.runtime == 0) GTEST_SKIP() << "turns have no length before Linux 6.12";
  std::thread([] {
    ASSERT_EQ(setpriority(PRIO_PROCESS, syscall(SYS_gettid), 3), 0);
    const SchedAttr before = Attributes();
    TakeShortTurns();
    const SchedAttr after = Attributes();
    EXPECT_EQ(after.runtime, 100'000);
    EXPECT_LT(after.runtime, before.runtime);
    EXPECT_EQ(after.nice, 3);
    EXPECT_EQ(after.policy, before.policy);
    EXPECT_EQ(after.flags, before.flags);
  }).join();
  EXPECT_EQ(Attributes().runtime, others.runtime);
}

// SCHED_BATCH is chosen by whoever starts the service.
TEST(TakeShortTurns, LeavesOtherPoliciesAsTheyAre) {
  std::thread([] {
    const SchedAttr batch = {.policy = SCHED_BATCH};
    ASSERT_EQ(syscall(SYS_sched_setattr, 0, &batch, 0), 0);
    const SchedAttr before = Attributes();
    TakeShortTurns();
    EXPECT_EQ(Attributes().policy, before.policy);
    EXPECT_EQ(Attributes().runtime, before.runtime);
  }).join();
}

}  // namespace
}  // namespace softsplice
