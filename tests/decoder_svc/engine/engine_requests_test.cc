// What becomes of requests: they wait, are held, cancelled, refused, or end with the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "common/time/steady.h"
#include "tests/decoder_svc/engine/engine_testing.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

TEST_F(EngineTest, CancelWhileItReadsThePrompt) {
  EngineOptions options = Options();
  options.chunk = 8;
  Start(options);
  auto sink = std::make_shared<Sink>();
  Event submitted;
  sink->on_prefill = [&](int read) {
    submitted.WaitForNotification();
    if (read == 16) engine_->Cancel(handle_);
  };
  Submit(Greedy(text_.Ints("long.tokens"), 5), sink);
  submitted.Notify();
  EXPECT_EQ(sink->Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sink->prefill, (std::vector<int>{8, 16})) << "no step after the cancellation";
  EXPECT_TRUE(sink->tokens.empty());
  ExpectIdle();
  EXPECT_TRUE(Submit(Greedy({2, 5}, 2))->Wait().ok());
}

TEST_F(EngineTest, CancelWhileItWrites) {
  Start(Options());
  auto sink = std::make_shared<Sink>();
  Event submitted;
  sink->on_token = [&](const SampledToken&) {
    submitted.WaitForNotification();
    if (sink->tokens.size() == 3) engine_->Cancel(handle_);
    return true;
  };
  Submit(Greedy({2, 5}, 0), sink);
  submitted.Notify();
  EXPECT_EQ(sink->Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sink->tokens.size(), 3u);
  sink->on_token = nullptr;
  ExpectIdle();
}

TEST_F(EngineTest, CancelWhileItWaits) {
  Start(Options());
  Event gate;
  const auto first = Block(gate);
  const auto waiting = Submit(Greedy({2, 5}, 4));
  engine_->Cancel(handle_);
  engine_->Cancel(12345);  // nobody
  gate.Notify();
  EXPECT_EQ(waiting->Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(waiting->prefill.empty());
  engine_->Cancel(handle_);  // gone already
  EXPECT_TRUE(Submit(Greedy({2, 5}, 2))->Wait().ok());
}

TEST_F(EngineTest, DeadlinesEndRequests) {
  Start(Options());
  EngineRequest late = Greedy({2, 5}, 4);
  late.time_limit = absl::ZeroDuration();
  EXPECT_EQ(Submit(std::move(late))->Wait().status().code(), absl::StatusCode::kDeadlineExceeded);

  EngineRequest endless = Greedy({2, 5}, 0);
  endless.time_limit = absl::Milliseconds(50);
  auto sink = std::make_shared<Sink>();
  sink->on_token = [](const SampledToken&) {
    absl::SleepFor(absl::Milliseconds(5));
    return true;
  };
  Submit(std::move(endless), sink);
  EXPECT_EQ(sink->Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GT(sink->tokens.size(), 0u);
  ExpectIdle();
}

// Held in the middle of its answer, while another one is answered.
TEST_F(EngineTest, HoldsWhoHasNoRoom) {
  EngineOptions options = Options();
  options.max_sequences = 2;
  Start(options);
  const auto slow = std::make_shared<Sink>();
  slow->on_token = [&](const SampledToken&) {
    slow->has_room = slow->tokens.size() != 5;
    return true;
  };
  Submit(Greedy(text_.Ints("medium.tokens"), 24), slow);
  const auto other = Submit(Greedy(text_.Ints("short.tokens"), 24));
  ASSERT_TRUE(other->Wait().ok());
  EXPECT_EQ(other->tokens, text_.Ints("short.greedy"));
  while (engine_->load().held == 0) absl::SleepFor(absl::Milliseconds(1));
  const EngineLoad load = engine_->load();
  EXPECT_EQ(load.running, 1);
  EXPECT_GT(load.kv_bytes_used, 0u);
  const absl::Duration beat = engine_->last_step();
  while (engine_->last_step() == beat) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(slow->tokens.size(), 5u);
  EXPECT_TRUE(Submit(Greedy({2, 5}, 2))->Wait().ok()) << "there is a place left";
  slow->has_room = true;
  ASSERT_TRUE(slow->Wait().ok()) << slow->Wait().status();
  EXPECT_EQ(slow->tokens, text_.Ints("medium.greedy"));
  ExpectIdle();
}

TEST_F(EngineTest, EndsWhoIsHeld) {
  enum class By { kLimit, kCancel, kDeadline, kShutdown };
  for (const By by : {By::kLimit, By::kCancel, By::kDeadline, By::kShutdown}) {
    later_ = false;
    EngineOptions options = Options();
    options.clock = [&] { return SteadyNow() + (later_ ? absl::Hours(1) : absl::ZeroDuration()); };
    Start(options);
    const auto held = std::make_shared<Sink>();
    held->has_room = false;
    EngineRequest request = Greedy({2, 5}, 0);
    if (by == By::kDeadline) request.time_limit = absl::Minutes(30);
    Submit(std::move(request), held);
    while (engine_->load().held == 0) absl::SleepFor(absl::Milliseconds(1));
    if (by == By::kLimit || by == By::kDeadline) later_ = true;
    if (by == By::kCancel) engine_->Cancel(handle_);
    if (by == By::kShutdown) engine_->Shutdown();
    const std::string reason = GetErrorDetail(held->Wait().status()).reason;
    EXPECT_EQ(reason, by == By::kLimit      ? "CLIENT_TOO_SLOW"
                      : by == By::kCancel   ? "CANCELLED"
                      : by == By::kDeadline ? "DEADLINE_EXCEEDED"
                                            : "DRAIN_DEADLINE");
    EXPECT_EQ(held->tokens.size(), 1u) << "the prompt's last row gives one";
    ExpectIdle();
    EXPECT_EQ(engine_->load().held, 0);
  }
}

TEST_F(EngineTest, RefusesWhenTheQueueIsFull) {
  EngineOptions options = Options();
  options.max_queue = 2;
  Start(options);
  Event gate;
  const auto running = Block(gate);
  const auto second = Submit(Greedy({2, 5}, 1)), third = Submit(Greedy({2, 5}, 1));
  EXPECT_EQ(engine_->load().queued, 2);
  EXPECT_EQ(engine_->load().running, 1);
  EXPECT_GT(engine_->load().kv_bytes_used, 0u);
  const absl::Status status = Refusal(Greedy({2, 5}, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, "QUEUE_FULL");
  EXPECT_GT(GetErrorDetail(status).retry_after, absl::ZeroDuration());
  gate.Notify();
  EXPECT_TRUE(third->Wait().ok());
  EXPECT_TRUE(Submit(Greedy({2, 5}, 1))->Wait().ok());
}

TEST_F(EngineTest, APlaceIsKeptUntilItIsUsedOrGivenBack) {
  EngineOptions options = Options();
  options.max_queue = 1;
  Start(options);
  Event gate;
  const auto running = Block(gate);
  const auto room = [&] { return engine_->Room(Priority::kNormal, absl::InfiniteDuration()); };
  EXPECT_EQ(room(), absl::OkStatus());
  auto place = engine_->Reserve();
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(room(), engine_->Reserve().status());
  EXPECT_EQ(engine_->load().reserved, 1);
  EXPECT_EQ(engine_->load().queued, 0);
  EXPECT_EQ(GetErrorDetail(engine_->Reserve().status()).reason, "QUEUE_FULL");
  {
    const Engine::Place given_back = *std::move(place);
    EXPECT_EQ(engine_->load().reserved, 1);
  }
  place = engine_->Reserve();
  ASSERT_TRUE(place.ok());
  // A request that is refused gives its place back, too.
  EXPECT_FALSE(engine_->Submit(*std::move(place), {}, std::make_shared<Sink>()).ok());
  const auto waiting = Submit(Greedy({2, 5}, 1));
  EXPECT_EQ(engine_->load().reserved, 0);
  EXPECT_EQ(engine_->load().queued, 1);
  gate.Notify();
  EXPECT_TRUE(waiting->Wait().ok());
}

TEST_F(EngineTest, WhoHadAPlaceGetsOneAgainHoweverFullTheQueueIs) {
  EngineOptions options = Options();
  options.max_queue = 1;
  Start(options);
  Event gate;
  const auto running = Block(gate);
  const auto waiting = Submit(Greedy({2, 5}, 1));
  EXPECT_EQ(GetErrorDetail(engine_->Reserve().status()).reason, "QUEUE_FULL");
  auto place = engine_->ReserveAgain(Priority::kNormal);
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(engine_->load().reserved, 1);
  const auto again = std::make_shared<Sink>();
  ASSERT_TRUE(engine_->Submit(*std::move(place), Greedy({2, 5}, 1), again).ok());
  gate.Notify();
  EXPECT_TRUE(waiting->Wait().ok());
  EXPECT_TRUE(again->Wait().ok());
  engine_->Shutdown();
  EXPECT_EQ(GetErrorDetail(engine_->ReserveAgain(Priority::kNormal).status()).reason, "DRAINING");
}

TEST_F(EngineTest, TellsWhoIsBefore) {
  Start(Options());
  Event gate;
  const auto running = Block(gate);
  EXPECT_EQ(engine_->Position(handle_), 0);
  Submit(Greedy({2, 5}, 1));
  const Engine::Handle second = handle_;
  const auto third = Submit(Greedy({2, 5}, 1));
  EXPECT_EQ(engine_->Position(second), 1);
  EXPECT_EQ(engine_->Position(handle_), 2);
  EXPECT_EQ(engine_->Position(12345), 0) << "nobody";
  gate.Notify();
  third->Wait();
  EXPECT_EQ(engine_->Position(handle_), 0);
}

TEST_F(EngineTest, BatchRequestsWaitForNormalOnes) {
  EngineOptions options = Options();
  options.max_queue = 3;
  Start(options);
  ASSERT_TRUE(Submit(Greedy({2, 5}, 4))->Wait().ok());  // measured
  Event gate;
  const auto running = Block(gate);
  const absl::Duration wait = engine_->load().expected_wait;
  const auto batch = std::make_shared<Sink>(), normal = std::make_shared<Sink>();
  normal->on_token = [&](const SampledToken&) { return batch->prefill.empty(); };
  Submit(Greedy({2, 5}, 4), batch, Priority::kBatch);
  const Engine::Handle first = handle_;
  EXPECT_EQ(engine_->Position(first), 1);
  EXPECT_EQ(engine_->load().expected_wait, wait) << "of a normal request";
  EXPECT_TRUE(engine_->Reserve(Priority::kBatch).ok()) << "given back at once";
  Submit(Greedy({2, 5}, 4), normal);
  EXPECT_EQ(engine_->Position(handle_), 1);
  EXPECT_EQ(engine_->Position(first), 2);
  EXPECT_GT(engine_->load().expected_wait, wait);
  EXPECT_EQ(GetErrorDetail(engine_->Reserve(Priority::kBatch).status()).reason, "QUEUE_FULL");
  EXPECT_TRUE(engine_->Reserve().ok());
  gate.Notify();
  EXPECT_EQ(normal->Wait()->completion_tokens, 4);
  EXPECT_EQ(batch->Wait()->completion_tokens, 4);
  ExpectIdle();
}

TEST_F(EngineTest, RefusesWhoWouldWaitTooLong) {
  EngineOptions options = Options();
  options.max_wait = absl::ZeroDuration();
  Start(options);
  ASSERT_TRUE(Submit(Greedy({2, 5}, 4))->Wait().ok());  // measured
  EXPECT_TRUE(engine_->Reserve().ok()) << "nobody is before it";
  Event gate;
  const auto running = Block(gate);
  EXPECT_GT(engine_->load().expected_wait, absl::ZeroDuration());
  const absl::Status status = engine_->Reserve().status();
  EXPECT_EQ(GetErrorDetail(status).reason, "QUEUE_FULL");
  EXPECT_GE(GetErrorDetail(status).retry_after, absl::Seconds(1));
  EXPECT_THAT(std::string(status.message()), HasSubstr("s before it is read; at most 0 are taken"));
  gate.Notify();
  running->Wait();
  ExpectIdle();

  options.max_wait = absl::Hours(1);
  Start(options);
  ASSERT_TRUE(Submit(Greedy({2, 5}, 4))->Wait().ok());
  Event second_gate;
  const auto second = Block(second_gate);
  EXPECT_FALSE(engine_->Reserve(Priority::kNormal, absl::Nanoseconds(1)).ok())
      << "its own patience counts, too";
  EXPECT_TRUE(engine_->Reserve(Priority::kNormal, absl::Hours(1)).ok());
  second_gate.Notify();
  second->Wait();
}

TEST_F(EngineTest, ShutdownEndsWhatIsLeft) {
  Start(Options());
  Event gate;
  auto endless = std::make_shared<Sink>();
  endless->on_token = [&](const SampledToken&) {
    if (!gate.HasBeenNotified()) gate.Notify();
    return true;
  };
  Submit(Greedy({2, 5}, 0), endless);
  gate.WaitForNotification();
  const auto waiting = Submit(Greedy({2, 5}, 0));
  auto place = engine_->Reserve();
  engine_->Shutdown();
  ASSERT_TRUE(endless->done.HasBeenNotified());
  ASSERT_TRUE(waiting->done.HasBeenNotified());
  EXPECT_EQ(GetErrorDetail(endless->result.status()).reason, "DRAIN_DEADLINE");
  EXPECT_EQ(GetErrorDetail(waiting->result.status()).reason, "DRAINING");
  EXPECT_GT(GetErrorDetail(waiting->result.status()).retry_after, absl::ZeroDuration());
  EXPECT_EQ(GetErrorDetail(engine_->Reserve().status()).reason, "DRAINING");
  const auto late = engine_->Submit(*std::move(place), Greedy({2, 5}, 1), waiting);
  EXPECT_EQ(GetErrorDetail(late.status()).reason, "DRAINING");
  ExpectIdle();
  engine_->Shutdown();  // once more changes nothing
}

TEST_F(EngineTest, BeatsWhenIdle) {
  Start(Options());
  const absl::Duration start = engine_->last_step();
  while (engine_->last_step() == start) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_LE(engine_->last_step(), SteadyNow());
  engine_->Shutdown();
  const absl::Duration last = engine_->last_step();
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(engine_->last_step(), last) << "the thread is gone";
}

}  // namespace
}  // namespace softsplice
