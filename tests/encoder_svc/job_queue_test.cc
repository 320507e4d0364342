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

JobQueue::Owner NotOwned(void* owner) {
  return {owner, [](void*) {}};
}

// A job that begins, and ends when it's told to.
struct Gate {
  absl::Notification begun, go_on;
  Tally::Part kept;

  JobQueue::Job Job(uint64_t cost = 0) {
    return {.owner = NotOwned(this), .cost = cost, .run = [this](Tally::Part taken, const auto&) {
              kept = std::move(taken);
              begun.Notify();
              go_on.WaitForNotification();
              return [] {};
            }};
  }
};

JobQueue::Job Named(const std::string& name, Events& events, uint64_t cost = 0) {
  return {.owner = NotOwned(&events), .cost = cost, .run = [&events, name](const auto&...) {
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
                  .Add({.run = [&](const auto&...) -> JobQueue::Answer {
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

// What a recording keeps may be there for as long as its receiver likes.
TEST(JobQueue, LetsBriefJobsPastWhatWaitsForLastingOnes) {
  Events events;
  Gate recording, picture;
  JobQueue queue(2, 100);
  const auto add = [&](JobQueue::Job job, bool lasting) {
    job.lasting = lasting;
    ASSERT_TRUE(queue.Add(std::move(job)).ok());
  };
  add(recording.Job(60), true);
  recording.begun.WaitForNotification();
  recording.go_on.Notify();  // it keeps its share
  add(Named("video", events, 50), true);
  add(Named("sound", events, 1), true);
  add(Named("large picture", events, 45), false);
  add(picture.Job(30), false);
  picture.begun.WaitForNotification();
  add(Named("small picture", events, 10), false);
  while (events.all().empty()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(events.all(), ElementsAre("small picture"));
  recording.kept.ShrinkTo(50);  // now what the video waits for does not last
  add(Named("late picture", events, 1), false);
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(queue.waiting(), 4);
  recording.kept = {};
  picture.kept = {};
  picture.go_on.Notify();
  queue.Shutdown();
  EXPECT_EQ(events.all().size(), 5u);
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

TEST(JobQueue, DoesTogetherWhatIsAlike) {
  Events events;
  Gate gate;
  JobQueue queue(1);
  ASSERT_TRUE(queue.Add(gate.Job()).ok());
  gate.begun.WaitForNotification();
  const auto add = [&](const std::string& name, uint64_t kind, int together) {
    const auto owner = std::make_shared<std::string>(name);
    JobQueue::Job job{.owner = owner, .kind = kind, .together = together};
    job.run = [&, owner](const auto&, const std::vector<JobQueue::Owner>& with) {
      std::string all = *owner;
      for (const auto& other : with) all += *std::static_pointer_cast<std::string>(other);
      events.Add(all);
      EXPECT_EQ(queue.running(), static_cast<int>(all.size()));
      return [] {};
    };
    ASSERT_TRUE(queue.Add(std::move(job)).ok());
  };
  for (const char* name : {"a", "b", "c"}) add(name, 7, 3);
  add("x", 8, 3);
  add("d", 7, 3);
  add("y", 0, 1);
  add("e", 7, 3);
  add("z", 0, 1);
  EXPECT_EQ(queue.waiting(), 8);
  gate.go_on.Notify();
  queue.Shutdown();
  EXPECT_THAT(events.all(), ElementsAre("abc", "x", "de", "y", "z"));
  EXPECT_EQ(queue.running(), 0);
}

// Of four threads two are busy when three jobs that are alike can begin.
TEST(JobQueue, LeavesJobsForIdleThreads) {
  Events events;
  Gate first, second;
  JobQueue queue(4, 100);
  ASSERT_TRUE(queue.Add(first.Job(60)).ok());
  first.begun.WaitForNotification();
  ASSERT_TRUE(queue.Add(second.Job(50)).ok());
  for (int i = 0; i < 3; ++i) {
    JobQueue::Job job{.owner = std::make_shared<int>(i), .kind = 1, .together = 4};
    job.run = [&](const auto&, const std::vector<JobQueue::Owner>& with) {
      events.Add(std::to_string(1 + with.size()));
      return [] {};
    };
    ASSERT_TRUE(queue.Add(std::move(job)).ok());
  }
  first.kept = {};
  second.begun.WaitForNotification();
  while (queue.waiting() > 0) absl::SleepFor(absl::Milliseconds(1));
  for (Gate* gate : {&first, &second}) gate->go_on.Notify();
  queue.Shutdown();
  EXPECT_THAT(events.all(), ::testing::UnorderedElementsAre("2", "1"));
}

TEST(JobQueue, LeavesAThreadToOthersThanProcesses) {
  JobQueue queue(3);
  Gate fenced[3], other;
  for (Gate& gate : fenced) {
    JobQueue::Job job = gate.Job();
    job.fenced = true;
    ASSERT_TRUE(queue.Add(std::move(job)).ok());
  }
  fenced[0].begun.WaitForNotification();
  fenced[1].begun.WaitForNotification();
  ASSERT_TRUE(queue.Add(other.Job()).ok());
  other.begun.WaitForNotification();  // before the third, which came before it
  EXPECT_FALSE(fenced[2].begun.HasBeenNotified());
  other.go_on.Notify();
  while (queue.running() > 2) absl::SleepFor(absl::Milliseconds(1));
  fenced[1].go_on.Notify();
  fenced[2].begun.WaitForNotification();
  // What a process takes is bounded elsewhere.
  EXPECT_EQ(queue.running(), 2);
  const absl::Duration now = SteadyNow();
  for (int i = 0; i < 10'000 && queue.busy_since() < now; ++i)
    absl::SleepFor(absl::Milliseconds(1));
  EXPECT_GE(queue.busy_since(), now);
  fenced[0].go_on.Notify();
  fenced[2].go_on.Notify();
}

TEST(JobQueue, AOneThreadQueueRunsProcessesToo) {
  JobQueue queue(1);
  Gate gate;
  JobQueue::Job job = gate.Job();
  job.fenced = true;
  ASSERT_TRUE(queue.Add(std::move(job)).ok());
  gate.begun.WaitForNotification();
  gate.go_on.Notify();
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
