// Who is let in and who is told what, with media that take as long as the test says.
#include "encoder_svc/pipeline.h"

#include <memory>
#include <new>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "encoder_svc/pass_record.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

struct FakeMedium final : Medium {
  explicit FakeMedium(absl::Duration until = absl::InfiniteDuration())
      : Medium(std::make_shared<CancelToken>(), until) {}
  void Tell(const absl::Status& status) override {
    end = status;
    told.Notify();  // aborts the second time
  }
  absl::Status Await() {
    EXPECT_TRUE(told.WaitForNotificationWithTimeout(absl::Seconds(30)));
    return end;
  }

  absl::Status end;
  absl::Notification told;
};

std::shared_ptr<FakeMedium> Fake(absl::Duration until = absl::InfiniteDuration()) {
  return std::make_shared<FakeMedium>(until);
}

// A pipeline whose decoder is held, and whose pictures take a second a row.
class PipelineTest : public ::testing::Test {
 protected:
  PipelineTest() {
    pipeline_.backlog().Measured(Tower::kImage, 1, absl::Seconds(1));
    EXPECT_TRUE(pipeline_
                    .Decode(holder_, {.rows = 0, .bytes = 1},
                            [this]() -> absl::StatusOr<Pipeline::Answer> {
                              holding_.Notify();
                              go_on_.WaitForNotification();
                              return [] {};
                            })
                    .ok());
    holding_.WaitForNotification();
  }
  ~PipelineTest() override {
    if (!go_on_.HasBeenNotified()) go_on_.Notify();
    pipeline_.Shutdown();
  }

  absl::Status Add(const std::shared_ptr<FakeMedium>& medium, int rows) {
    return pipeline_.Decode(medium, {.rows = rows, .bytes = 1},
                            [medium]() -> absl::StatusOr<Pipeline::Answer> {
                              medium->Release();
                              return [medium] { medium->Tell(absl::OkStatus()); };
                            });
  }

  absl::Notification holding_, go_on_;
  const std::shared_ptr<FakeMedium> holder_ = Fake();
  // One of the places is the holder's.
  Pipeline pipeline_{
      {.max_queue = 5, .max_wait = absl::Seconds(60), .decode_threads = 1, .decode_memory = 100}};
};

TEST_F(PipelineTest, RefusesWhatWouldWaitForTooLong) {
  const auto first = Fake(), second = Fake();
  EXPECT_TRUE(Add(first, 50).ok());
  EXPECT_EQ(pipeline_.load().expected_wait, absl::Seconds(50));
  EXPECT_TRUE(Add(second, 30).ok());
  const absl::Status refused = Add(Fake(), 1);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(refused).reason, "QUEUE_FULL");
  EXPECT_EQ(GetErrorDetail(refused).retry_after, absl::Seconds(80));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("1m20s; at most 1m"));
  // Its work leaves with who leaves.
  first->cancel->Cancel();
  EXPECT_EQ(first->Await().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(pipeline_.load().expected_wait, absl::Seconds(30));
  const auto third = Fake();
  EXPECT_TRUE(Add(third, 1).ok());
  go_on_.Notify();
  EXPECT_TRUE(second->Await().ok());
  EXPECT_TRUE(third->Await().ok());
}

TEST_F(PipelineTest, RefusesWhatCantBeInTime) {
  const auto first = Fake();
  EXPECT_TRUE(Add(first, 50).ok());
  const absl::Status refused = Add(Fake(SteadyNow() + absl::Seconds(20)), 1);
  EXPECT_EQ(GetErrorDetail(refused).reason, "QUEUE_FULL");
  EXPECT_EQ(GetErrorDetail(refused).retry_after, absl::Seconds(50));
  const absl::Status late = Add(Fake(SteadyNow() - absl::Seconds(1)), 1);
  EXPECT_EQ(GetErrorDetail(late).reason, "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Add(Fake(SteadyNow() + absl::Minutes(5)), 1).ok());
}

TEST_F(PipelineTest, TellsWhenTheQueueWillBeEmpty) {
  std::vector<std::shared_ptr<FakeMedium>> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(Fake());
    EXPECT_TRUE(Add(waiting.back(), 7).ok());
  }
  EXPECT_EQ(pipeline_.load().queued, 4);
  const absl::Status full = Add(Fake(), 7);
  EXPECT_EQ(GetErrorDetail(full).reason, "QUEUE_FULL");
  EXPECT_EQ(GetErrorDetail(full).retry_after, absl::Seconds(28));
  waiting[2]->cancel->Cancel();
  EXPECT_TRUE(Add(Fake(), 7).ok());
}

TEST_F(PipelineTest, EndsAMediumThatRunsOutOfMemoryAndGoesOn) {
  const auto medium = Fake(), next = Fake(), broken = Fake();
  const auto step = [](auto exception) {
    return [exception]() -> absl::StatusOr<Pipeline::Answer> { throw exception; };
  };
  EXPECT_TRUE(pipeline_.Decode(medium, {.rows = 1, .bytes = 1}, step(std::bad_alloc())).ok());
  EXPECT_TRUE(
      pipeline_.Decode(broken, {.rows = 1, .bytes = 1}, step(std::length_error("rows"))).ok());
  EXPECT_TRUE(Add(next, 1).ok());
  go_on_.Notify();
  EXPECT_EQ(GetErrorDetail(medium->Await()).reason, "OUT_OF_MEMORY");
  EXPECT_GT(GetErrorDetail(medium->end).retry_after, absl::ZeroDuration());
  EXPECT_EQ(broken->Await().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(next->Await().ok());
  EXPECT_EQ(pipeline_.load().expected_wait, absl::ZeroDuration());
}

// The towers take what is ready, not what came first.
TEST_F(PipelineTest, EncodesWhatIsReady) {
  const auto medium = Fake();
  pipeline_.Encode(medium, {}, [medium](const auto&) -> absl::StatusOr<Pipeline::Answer> {
    return [medium] { medium->Tell(absl::OkStatus()); };
  });
  EXPECT_TRUE(medium->Await().ok());
  EXPECT_EQ(pipeline_.load().decoding, 1);
  EXPECT_FALSE(go_on_.HasBeenNotified());
}

// But those that nobody wants any more; an error is the end of all.
TEST_F(PipelineTest, EncodesTogetherWhatIsAlike) {
  absl::Notification begun, go_on;
  const auto first = Fake(), second = Fake(), third = Fake(), fourth = Fake();
  const Pipeline::Alike alike{.kind = 1, .together = 3};
  pipeline_.Encode(Fake(), {}, [&](const auto&) -> absl::StatusOr<Pipeline::Answer> {
    begun.Notify();
    go_on.WaitForNotification();
    return [] {};
  });
  begun.WaitForNotification();
  std::vector<size_t> sizes;
  for (const auto& medium : {first, second, third, fourth}) {
    pipeline_.Encode(medium, alike, [&](const Pipeline::Media& media) {
      sizes.push_back(media.size());
      return absl::StatusOr<Pipeline::Answer>(absl::InternalError("broken"));
    });
  }
  first->cancel->Cancel();
  go_on.Notify();
  EXPECT_EQ(first->Await().code(), absl::StatusCode::kCancelled);
  for (const auto& medium : {second, third, fourth}) {
    EXPECT_EQ(medium->Await().message(), "broken");
  }
  EXPECT_THAT(sizes, ::testing::ElementsAre(2, 1));
}

TEST(Backlog, FollowsWhatItMeasures) {
  Backlog backlog;
  EXPECT_EQ(backlog.Ahead(), absl::ZeroDuration());
  {
    const Backlog::Work unknown = backlog.Add(Tower::kAudio, 750);
    EXPECT_EQ(backlog.Ahead(), absl::ZeroDuration());
  }
  backlog.Measured(Tower::kAudio, 10, absl::Seconds(10));
  for (int i = 0; i < 100; ++i) backlog.Measured(Tower::kAudio, 10, absl::Seconds(40));
  const Backlog::Work work = backlog.Add(Tower::kAudio, 2);
  EXPECT_NEAR(absl::ToDoubleSeconds(backlog.Ahead()), 8, 0.01);
}

TEST(PassRecord, GivesUpAfterFailuresOneAfterAnother) {
  const absl::Status failed = absl::InternalError("not finite"), short_memory = OutOfMemory("none");
  PassRecord passes;
  for (int i = 0; i < 10; ++i) {
    passes.Note(failed);
    passes.Note(short_memory);
    passes.Note(failed);
    passes.Note(absl::OkStatus());
  }
  EXPECT_TRUE(passes.verdict().ok());
  for (int i = 0; i < 3; ++i) passes.Note(failed);
  EXPECT_EQ(passes.verdict(), failed);
  passes.Note(absl::OkStatus());
  EXPECT_EQ(passes.verdict(), failed);
}

TEST(PassRecord, GivesUpADeviceThatFailed) {
  PassRecord passes;
  passes.Note(MakeError(absl::StatusCode::kInternal, "gone", {.reason = "DEVICE_ERROR"}));
  EXPECT_EQ(passes.verdict().message(), "gone");
}

}  // namespace
}  // namespace softsplice
