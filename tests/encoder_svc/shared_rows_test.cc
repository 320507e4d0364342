// Who gets which rows and when, with passes that go as the test says.
#include "encoder_svc/shared_rows.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "common/time/steady.h"
#include "encoder_svc/job_queue.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::ElementsAre;

constexpr int kDim = 256;  // a row is a KiB
constexpr uint64_t kKiB = 1 << 10;

Digest Name(uint8_t name) {
  Digest digest{};
  digest[0] = name;
  return digest;
}

std::vector<float> Numbers(int rows, float value) {
  return std::vector<float>(static_cast<size_t>(rows) * kDim, value);
}

// What one call was told.
struct Told {
  std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();
  std::optional<RecordingLayout> layout;
  std::vector<float> runs;  // the first number of each
  std::vector<Values> held;
  bool holds = false;
  std::function<void()> next;
  std::optional<absl::Status> end;
  EncodeTimings timings;
  std::promise<void> done;

  RecordingCallbacks callbacks() {
    return {.layout = [this](RecordingLayout its) { layout = std::move(its); },
            .rows =
                [this](const Values& values, std::function<void()> more) {
                  runs.push_back(values->front());
                  if (holds) held.push_back(values);
                  next = std::move(more);
                },
            .done =
                [this](const absl::Status& status, const EncodeTimings& its) {
                  EXPECT_FALSE(end) << "told twice";
                  end = status;
                  timings = its;
                  done.set_value();
                }};
  }
  void Next() { std::exchange(next, nullptr)(); }
  std::string reason() const { return GetErrorDetail(*end).reason; }
};

// One that was begun.
struct Pass {
  std::shared_ptr<CancelToken> cancel;
  SharedRows::Sink sink;
  bool may_go_on = false;

  void GiveLayout(std::vector<int> rows) {
    RecordingLayout layout{.dim = kDim};
    for (const int count : rows) {
      layout.segments.push_back({layout.rows, count, {}, {}});
      layout.rows += count;
    }
    sink.layout(std::move(layout));
  }
  void GiveRun(int rows, float value) {
    may_go_on = false;
    sink.rows(Numbers(rows, value), [this] { may_go_on = true; });
  }
  void GiveLast(int rows, float value) {
    sink.rows(Numbers(rows, value), nullptr);
    sink.done(absl::OkStatus(), {.forward = absl::Seconds(3)});
    sink = {};  // as whoever has no use for it any more
  }
};

class SharedRowsTest : public ::testing::Test {
 protected:
  void Read(Told& told, uint8_t name, int rows,
            absl::Duration deadline = absl::InfiniteDuration()) {
    shared_.Read({.digest = Name(name),
                  .bytes = static_cast<uint64_t>(rows) * kKiB,
                  .cancel = told.cancel,
                  .deadline = deadline,
                  .to = told.callbacks(),
                  .begin = [this](auto cancel, SharedRows::Sink sink) {
                    passes_.push_back(std::make_unique<Pass>(Pass{std::move(cancel), sink}));
                    return refusal_;
                  }});
  }
  EncoderLoadFigures load() const {
    EncoderLoadFigures load;
    shared_.AddTo(load);
    return load;
  }

  absl::Status refusal_;
  std::vector<std::unique_ptr<Pass>> passes_;
  SharedRows shared_{64 * kKiB, kDim};  // takes media of up to 15 rows
};

TEST_F(SharedRowsTest, EncodeOnceWhatSeveralWant) {
  Told first, second, other, later;
  Read(first, 1, 4);
  Read(second, 1, 4);
  Read(other, 2, 4);
  ASSERT_EQ(passes_.size(), 2u);
  EXPECT_FALSE(first.end || second.end);
  passes_[0]->GiveLast(4, 1.5);
  for (const Told* told : {&first, &second}) {
    ASSERT_TRUE(told->end);
    EXPECT_TRUE(told->end->ok());
    EXPECT_THAT(told->runs, ElementsAre(1.5f));
  }
  EXPECT_FALSE(first.timings.cache_hit);
  EXPECT_EQ(first.timings.forward, absl::Seconds(3));
  EXPECT_TRUE(second.timings.cache_hit);
  EXPECT_EQ(second.timings.forward, absl::ZeroDuration());
  Read(later, 1, 4);
  EXPECT_TRUE(later.end && later.end->ok()) << "before return";
  EXPECT_THAT(later.runs, ElementsAre(1.5f));
  EXPECT_TRUE(later.timings.cache_hit);
  EXPECT_FALSE(other.end);
  other.cancel->Cancel();
  EXPECT_EQ(passes_.size(), 2u);
  EXPECT_EQ(load().cache_misses, 2u);
  EXPECT_EQ(load().cache_hits, 2u);
  EXPECT_EQ(load().cache_bytes, 4 * kKiB + RowsCache::kEntryBytes);
}

TEST_F(SharedRowsTest, GoOnForTheOthersWhenTheFirstLeaves) {
  Told first, second, third;
  Read(first, 1, 4);
  Read(second, 1, 4);
  Read(third, 1, 4, SteadyNow() + absl::Milliseconds(20));
  first.cancel->Cancel();
  EXPECT_EQ(first.reason(), "CANCELLED");
  third.done.get_future().get();
  EXPECT_EQ(third.reason(), "DEADLINE_EXCEEDED");
  EXPECT_FALSE(passes_[0]->cancel->cancelled());
  passes_[0]->GiveLast(4, 1);
  EXPECT_TRUE(second.end->ok());
  EXPECT_TRUE(first.runs.empty() && third.runs.empty());
  first.cancel->Cancel();
}

// Also in a pass whose end is not told yet: who comes then begins anew.
TEST_F(SharedRowsTest, StopWhenTheLastLeaves) {
  Told first, second, third;
  Read(first, 1, 4);
  Read(second, 1, 4);
  first.cancel->Cancel();
  second.cancel->Cancel();
  EXPECT_TRUE(passes_[0]->cancel->cancelled());
  Read(third, 1, 4);
  ASSERT_EQ(passes_.size(), 2u);
  passes_[0]->sink.done(absl::CancelledError("cancelled"), {});
  EXPECT_FALSE(third.end);
  passes_[1]->GiveLast(4, 2);
  EXPECT_THAT(third.runs, ElementsAre(2.f));
}

TEST_F(SharedRowsTest, KeepNoErrors) {
  Told first, second, third, refused;
  Read(first, 1, 4);
  Read(second, 1, 4);
  passes_[0]->sink.done(absl::InternalError("broken"), {});
  EXPECT_EQ(first.end->message(), "broken");
  EXPECT_EQ(second.end->message(), "broken");
  Read(third, 1, 4);
  ASSERT_EQ(passes_.size(), 2u);
  passes_[1]->GiveLayout({2, 2});
  passes_[1]->GiveRun(2, 1);
  EXPECT_GT(load().cache_bytes, 0u);
  passes_[1]->sink.done(absl::InternalError("broken"), {});
  EXPECT_EQ(third.end->message(), "broken");
  EXPECT_EQ(load().cache_bytes, 0u);
  refusal_ = absl::ResourceExhaustedError("full");
  Read(refused, 1, 4);
  EXPECT_EQ(refused.end->message(), "full");
  EXPECT_EQ(passes_.size(), 3u);
}

// Whoever comes late has what came before; nobody waits for another one.
TEST_F(SharedRowsTest, GiveASoundAtEachReadersPace) {
  Told first, second, third;
  Read(first, 1, 0);
  passes_[0]->GiveLayout({4, 4, 2});
  passes_[0]->GiveRun(4, 1);
  EXPECT_TRUE(passes_[0]->may_go_on);
  EXPECT_THAT(first.runs, ElementsAre(1.f));
  Read(second, 1, 0);
  EXPECT_EQ(second.layout->rows, 10);
  EXPECT_THAT(second.runs, ElementsAre(1.f));
  passes_[0]->GiveRun(4, 2);
  second.Next();
  EXPECT_THAT(second.runs, ElementsAre(1.f, 2.f));
  passes_[0]->GiveLast(2, 3);
  second.Next();
  EXPECT_THAT(second.runs, ElementsAre(1.f, 2.f, 3.f));
  EXPECT_TRUE(second.end->ok());
  EXPECT_FALSE(second.next);
  EXPECT_THAT(first.runs, ElementsAre(1.f));
  EXPECT_FALSE(first.end);
  Read(third, 1, 0);
  third.Next();
  third.Next();
  EXPECT_THAT(third.runs, ElementsAre(1.f, 2.f, 3.f));
  first.Next();
  first.Next();
  EXPECT_TRUE(first.end->ok());
  EXPECT_EQ(passes_.size(), 1u);
}

// A receiver may ask for more while it is given rows, or go.
TEST_F(SharedRowsTest, TellOneThingAtATime) {
  Told told;
  std::vector<std::string> events;
  RecordingCallbacks to = told.callbacks();
  to.rows = [&](const Values&, const std::function<void()>& next) {
    events.emplace_back("rows");
    next();
    if (events.size() == 3) told.cancel->Cancel();
    events.emplace_back("told");
  };
  to.done = [&](const absl::Status& end, const EncodeTimings&) {
    events.push_back(GetErrorDetail(end).reason);
  };
  shared_.Read({.digest = Name(1), .cancel = told.cancel, .to = to, .begin = [](auto, auto sink) {
                  RecordingLayout layout{.rows = 3, .dim = kDim};
                  for (int i = 0; i < 3; ++i) layout.segments.push_back({i, 1, {}, {}});
                  sink.layout(layout);
                  for (int i = 0; i < 3; ++i) sink.rows(Numbers(1, 1), [] {});
                  return absl::OkStatus();
                }});
  EXPECT_THAT(events, ElementsAre("rows", "told", "rows", "told", "CANCELLED"));
}

TEST_F(SharedRowsTest, HoldASoundThatIsTooLargeToKeep) {
  Told first, second;
  Read(first, 1, 0);
  passes_[0]->GiveLayout({8, 8, 8});
  passes_[0]->GiveRun(8, 1);
  EXPECT_FALSE(passes_[0]->may_go_on);
  Read(second, 1, 0);
  EXPECT_EQ(passes_.size(), 2u) << "not all is here any more";
  first.Next();
  EXPECT_TRUE(passes_[0]->may_go_on);
  passes_[0]->GiveRun(8, 2);
  EXPECT_FALSE(passes_[0]->may_go_on);
  first.Next();
  passes_[0]->GiveLast(8, 3);
  EXPECT_THAT(first.runs, ElementsAre(1.f, 2.f, 3.f));
  EXPECT_TRUE(first.end->ok());
  EXPECT_EQ(load().cache_bytes, 0u);
  second.cancel->Cancel();
}

TEST_F(SharedRowsTest, HoldItForTheSlowestOfThoseWhoCameInTime) {
  Told first, second;
  Read(first, 1, 0);
  Read(second, 1, 0);
  passes_[0]->GiveLayout({8, 8, 8});
  passes_[0]->GiveRun(8, 1);
  second.Next();
  EXPECT_FALSE(passes_[0]->may_go_on);
  first.cancel->Cancel();
  EXPECT_TRUE(passes_[0]->may_go_on);
  passes_[0]->GiveRun(8, 2);
  EXPECT_FALSE(passes_[0]->may_go_on);
  shared_.ResumeAll();
  EXPECT_TRUE(passes_[0]->may_go_on);
  passes_[0]->sink.done(absl::UnavailableError("stopping"), {});
  EXPECT_EQ(second.end->message(), "stopping");
}

TEST_F(SharedRowsTest, BeginEachByItselfWhatIsKnownToBeTooLarge) {
  Told first, second;
  Read(first, 1, 16);
  Read(second, 1, 16);
  EXPECT_EQ(passes_.size(), 2u);
  passes_[0]->GiveLast(16, 1);
  passes_[1]->GiveLast(16, 2);
  EXPECT_THAT(first.runs, ElementsAre(1.f));
  EXPECT_THAT(second.runs, ElementsAre(2.f));
  EXPECT_EQ(load().cache_misses, 2u);
  EXPECT_EQ(load().cache_bytes, 0u);
}

// All that was encoded at once reaches those who want it, whether or not it can be kept.
TEST_F(SharedRowsTest, KeepNothingBeyondTheirMemory) {
  std::vector<std::unique_ptr<Told>> holders;
  for (uint8_t name = 1; name <= 5; ++name) {
    holders.push_back(std::make_unique<Told>());
    holders.back()->holds = true;
    Told also;
    Read(*holders.back(), name, 15);
    Read(also, name, 15);
    passes_.back()->GiveLast(15, name);
    EXPECT_THAT(also.runs, ElementsAre(float{static_cast<float>(name)}));
    EXPECT_EQ(load().cache_bytes, std::min(name, uint8_t{4}) * 16 * kKiB);
  }
  Told again, anew;
  Read(again, 5, 15);
  EXPECT_EQ(passes_.size(), 6u);
  holders[0]->held.clear();
  passes_.back()->GiveLast(15, 6);
  EXPECT_TRUE(again.end->ok());
  Read(anew, 1, 15);
  EXPECT_EQ(passes_.size(), 7u) << "it had to go";
  anew.cancel->Cancel();
}

// Readers that come, read on and go while two threads encode: each is told one end, and no rows but
// its medium's.
TEST(SharedRows, ServeManyAtOnce) {
  static constexpr int kReaders = 300, kMedia = 12, kRuns = 3;
  SharedRows shared(32 * kKiB, kDim);  // too small for all of them
  JobQueue towers(2);
  std::atomic<int> ended = 0;
  const auto read = [&](int i) {
    const int medium = i % kMedia;
    auto cancel = std::make_shared<CancelToken>();
    auto runs = std::make_shared<int>(0);
    auto told = std::make_shared<std::atomic<bool>>(false);
    RecordingCallbacks to{
        .layout = [](const RecordingLayout& layout) { EXPECT_EQ(layout.rows, kRuns); },
        .rows =
            [=](const Values& values, const std::function<void()>& next) {
              EXPECT_EQ(values->front(), static_cast<float>(medium * kRuns + (*runs)++));
              if (i % 5 == 0) cancel->Cancel();
              if (next) next();
            },
        .done =
            [=, &ended](const absl::Status& end, const EncodeTimings&) {
              EXPECT_FALSE(told->exchange(true));
              if (end.ok()) {
                EXPECT_EQ(*runs, kRuns);
              }
              ++ended;
            }};
    const auto encode = [=](SharedRows::Sink sink) {
      RecordingLayout layout{.rows = kRuns, .dim = kDim};
      for (int run = 0; run < kRuns; ++run) layout.segments.push_back({run, 1, {}, {}});
      sink.layout(layout);
      for (int run = 0; run < kRuns; ++run) {
        const auto go_on = std::make_shared<std::promise<void>>();
        std::function<void()> next = [go_on] { go_on->set_value(); };
        if (run + 1 == kRuns) next = nullptr;
        sink.rows(Numbers(1, static_cast<float>(medium * kRuns + run)), next);
        if (next) go_on->get_future().wait_for(std::chrono::milliseconds(10));
      }
      sink.done(absl::OkStatus(), {});
    };
    shared.Read({.digest = Name(static_cast<uint8_t>(medium)),
                 .bytes = kRuns * kKiB,
                 .cancel = cancel,
                 .deadline = i % 7 == 0 ? SteadyNow() + absl::Microseconds(50 * i)
                                        : absl::InfiniteDuration(),
                 .to = to,
                 .begin = [&, encode](auto, SharedRows::Sink sink) {
                   return towers.Add({.run = [=](const auto&...) -> JobQueue::Answer {
                     return [=] { encode(sink); };
                   }});
                 }});
    if (i % 11 == 0) cancel->Cancel();
  };
  std::vector<std::thread> clients;
  for (int client = 0; client < 3; ++client) {
    clients.emplace_back([&, client] {
      for (int i = client; i < kReaders; i += 3) read(i);
    });
  }
  for (std::thread& client : clients) client.join();
  towers.Shutdown();
  EXPECT_EQ(ended, kReaders);
  EncoderLoadFigures load;
  shared.AddTo(load);
  EXPECT_GT(load.cache_hits, 0u);
  EXPECT_LE(load.cache_bytes, 32 * kKiB);
}

TEST(SharedRows, ShareNothingWithoutACache) {
  SharedRows shared(0, kDim);
  int begun = 0;
  for (int i = 0; i < 2; ++i) {
    Told told;
    shared.Read({.digest = Name(1),
                 .bytes = kKiB,
                 .cancel = told.cancel,
                 .to = told.callbacks(),
                 .begin = [&](auto, auto sink) {
                   ++begun;
                   sink.rows(Numbers(1, 1), nullptr);
                   sink.done(absl::OkStatus(), {});
                   return absl::OkStatus();
                 }});
    EXPECT_FALSE(told.timings.cache_hit);
  }
  EXPECT_EQ(begun, 2);
  EncoderLoadFigures load;
  shared.AddTo(load);
  EXPECT_EQ(load.cache_hits + load.cache_misses + load.cache_bytes, 0u);
}

}  // namespace
}  // namespace softsplice
