// A queue's order, capacity and deadlines, with jobs that wait for the test.
#include "encoder_svc/job_queue.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::ElementsAre;

// What happened, in its order.
class Events {
 public:
  void Add(const std::string& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
  }
  std::vector<std::string> all() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> events_;
};

// A job that begins, and ends when it's told to.
struct Gate {
  absl::Notification begun, go_on;
  Tally::Part kept;

  JobQueue::Job Job(uint64_t cost = 0) {
    return {.owner = this, .cost = cost, .run = [this](Tally::Part taken) {
              kept = std::move(taken);
              begun.Notify();
              go_on.WaitForNotification();
              return [] {};
            }};
  }
};

JobQueue::Job Named(const std::string& name, Events& events, uint64_t cost = 0) {
  return {.owner = &events, .cost = cost, .run = [&events, name](Tally::Part) {
            events.Add(name);
            return [] {};
          }};
}

TEST(JobQueue, DoesJobsInTheirOrder) {
  Events events;
  JobQueue queue(1);
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(queue.Add(Named(name, events)).ok());
  queue.Shutdown();
  EXPECT_THAT(events.all(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(queue.Add(Named("d", events)).code(), absl::StatusCode::kUnavailable);
}

TEST(JobQueue, CountsAJobUntilItsAnswer) {
  JobQueue queue(1);
  absl::Notification answered;
  int running = -1;
  ASSERT_TRUE(queue
                  .Add({.run = [&](Tally::Part) -> JobQueue::Answer {
                    running = queue.running();
                    return [&] {
                      EXPECT_EQ(queue.running(), 0);
                      // But whoever looks for life sees that it is at it.
                      EXPECT_LT(queue.busy_since(), SteadyNow());
                      answered.Notify();
                    };
                  }})
                  .ok());
  answered.WaitForNotification();
  EXPECT_EQ(running, 1);
}

TEST(JobQueue, BeginsWhatItsCapacityHolds) {
  Events events;
  Gate large, small;
  JobQueue queue(3, 100);
  ASSERT_TRUE(queue.Add(large.Job(60)).ok());
  ASSERT_TRUE(queue.Add(small.Job(40)).ok());
  large.begun.WaitForNotification();
  small.begun.WaitForNotification();
  ASSERT_TRUE(queue.Add(Named("next", events, 50)).ok());
  ASSERT_TRUE(queue.Add(Named("behind", events, 1)).ok());
  small.go_on.Notify();
  small.kept = {};  // 40 are free, 50 are needed; those behind do not overtake
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(queue.waiting(), 2);
  // What a job leaves behind keeps its share, whole or in part.
  large.go_on.Notify();
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(queue.waiting(), 2);
  large.kept.ShrinkTo(10);
  queue.Shutdown();
  EXPECT_THAT(events.all(), ::testing::UnorderedElementsAre("next", "behind"));
  large.kept = {};
}

TEST(JobQueue, TakesOutWhatWaits) {
  Events events;
  Gate gate;
  JobQueue queue(1);
  ASSERT_TRUE(queue.Add(gate.Job()).ok());
  gate.begun.WaitForNotification();
  ASSERT_TRUE(queue.Add(Named("unwanted", events)).ok());
  EXPECT_TRUE(queue.Remove(&events));
  EXPECT_FALSE(queue.Remove(&events));
  EXPECT_FALSE(queue.Remove(&gate));  // it runs
  EXPECT_EQ(queue.waiting(), 0);
  gate.go_on.Notify();
  queue.Shutdown();
  EXPECT_TRUE(events.all().empty());
}

TEST(JobQueue, ShowsSignsOfLife) {
  Gate gate;
  JobQueue queue(2);
  EXPECT_GT(queue.busy_since(), SteadyNow() - absl::Seconds(10));
  ASSERT_TRUE(queue.Add(gate.Job()).ok());
  gate.begun.WaitForNotification();
  const absl::Duration since = queue.busy_since();
  absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(queue.busy_since(), since);
  gate.go_on.Notify();
}

}  // namespace
}  // namespace softsplice
