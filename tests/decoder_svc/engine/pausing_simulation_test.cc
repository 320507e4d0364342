// What pausing promises, under traffic that needs more memory than there is, in virtual time.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "decoder_svc/engine/pausing.h"
#include "tests/decoder_svc/engine/simulation.h"

namespace softsplice {
namespace {

using Stream = Simulation::Stream;

// `memory`: in contexts, for `sequences` at once.
EngineOptions Options(double memory, int sequences = 8, int context = 4096) {
  EngineOptions options{.context_length = context,
                        .max_queue = 1 << 20,
                        .max_wait = absl::InfiniteDuration(),
                        .max_sequences = sequences};
  options.kv_memory =
      static_cast<uint64_t>(static_cast<double>(Simulation::LeastMemory(options)) * memory);
  return options;
}

void ExpectServed(const Stream& stream) {
  EXPECT_TRUE(stream.status.ok()) << stream.status;
  EXPECT_EQ(static_cast<int>(stream.tokens.size()), stream.ask.answer);
}

void ExpectNothingLeft(Simulation& simulation) {
  const EngineLoad load = simulation.engine().load();
  EXPECT_EQ(load.reserved + load.queued + load.paused + load.running + load.held, 0);
  EXPECT_EQ(load.kv_bytes_used, 0u);
}

// Until `stream` is paused.
void RunUntilPaused(Simulation& simulation, const Stream& stream) {
  for (int i = 0; i < 10000 && stream.pauses.empty(); ++i) simulation.Run(absl::Milliseconds(1));
  ASSERT_FALSE(stream.pauses.empty());
}

// Both begin, as what they are promised fits, and neither fits to its end.
TEST(PausingSimulationTest, TheOlderEndsAndTheYoungerGoesOn) {
  Simulation simulation(Options(1, 2));
  const auto older = simulation.Start({.client = "a", .prompt = 500, .answer = 3500});
  const auto younger = simulation.Start({.client = "b", .prompt = 500, .answer = 3500});
  RunUntilPaused(simulation, *younger);
  EngineLoad load = simulation.engine().load();
  EXPECT_EQ(load.running, 1);
  EXPECT_EQ(load.paused, 1);
  EXPECT_EQ(load.queued, 1);
  EXPECT_EQ(simulation.engine().Position(younger->handle), 1);
  EXPECT_GT(older->tokens.size(), static_cast<size_t>(kPromisedRows));
  EXPECT_GT(younger->tokens.size(), static_cast<size_t>(kPromisedRows));
  simulation.Run();
  ExpectServed(*older);
  ExpectServed(*younger);
  EXPECT_EQ(older->pauses.size(), 0u);
  EXPECT_EQ(younger->pauses.size(), 1u);
  ExpectNothingLeft(simulation);
}

// Two that are half loaded: readmitting the one as soon as its next rows fit would let them take
// from each other for ever.
TEST(PausingSimulationTest, NobodyIsPausedMoreThanTwice) {
  for (const bool shared : {false, true}) {
    Simulation simulation(Options(1.2, 6));
    for (int i = 0; i < 12; ++i) {
      simulation.Start({.client = absl::StrCat(i % 3),
                        .prompt = 300,
                        .answer = 3500,
                        .shared = shared,
                        .begin = {i}});
    }
    const absl::Duration begin = simulation.now();
    simulation.Run(absl::Hours(10));
    size_t pauses = 0;
    for (const auto& stream : simulation.streams()) {
      ExpectServed(*stream);
      EXPECT_LE(stream->pauses.size(), 2u);
      pauses += stream->pauses.size();
    }
    EXPECT_GT(pauses, 6u);
    // No slower than one after the other.
    EXPECT_LT(simulation.now() - begin, 12 * 3800 * StepCost().weights);
    ExpectNothingLeft(simulation);
  }
}

// A request that says that it is short has all that it needs from its beginning.
TEST(PausingSimulationTest, ShortAnswersAreNeverPaused) {
  std::mt19937 random(1);
  Simulation simulation(Options(1.5));
  size_t pauses = 0;
  for (int i = 0; i < 60; ++i) {
    const bool is_short = i % 2 == 0;
    simulation.At(simulation.now() + absl::Seconds(random() % 2000), [&simulation, is_short, i] {
      simulation.Start({.client = absl::StrCat(i % 4),
                        .prompt = 100,
                        .answer = is_short ? kPromisedRows : 3900,
                        .begin = {i},
                        .priority = i % 3 == 0 ? Priority::kBatch : Priority::kNormal});
    });
  }
  simulation.Run(absl::Hours(100));
  for (const auto& stream : simulation.streams()) {
    ExpectServed(*stream);
    if (stream->ask.answer <= kPromisedRows) {
      EXPECT_EQ(stream->pauses.size(), 0u);
    }
    pauses += stream->pauses.size();
  }
  EXPECT_GT(pauses, 10u);
}

// Rows that were read once more.
int64_t ReadAgain(Simulation& simulation) {
  int64_t rows = simulation.rows();
  for (const auto& stream : simulation.streams()) {
    rows -= stream->ask.prompt + static_cast<int64_t>(stream->tokens.size()) - 1;
  }
  return rows;
}

// Where those that go on have what they were promised, and one of them ends early.
TEST(PausingSimulationTest, ComingBackReadsNothingThatNobodyNeeded) {
  Simulation simulation(Options(1.5, 3));
  const auto older = simulation.Start({.prompt = 1000, .answer = 3000, .begin = {1}});
  const auto paused = simulation.Start(
      {.prompt = 1000, .answer = 3000, .shared = true, .begin = {2}, .priority = Priority::kBatch});
  simulation.Run(absl::Seconds(60));
  const auto promised = simulation.Start({.prompt = 100, .answer = 900, .begin = {3}});
  RunUntilPaused(simulation, *paused);
  simulation.Run(absl::Seconds(5));
  simulation.engine().Cancel(older->handle);
  simulation.Run();
  ExpectServed(*paused);
  ExpectServed(*promised);
  EXPECT_EQ(paused->pauses.size(), 1u);
  EXPECT_LE(ReadAgain(simulation), 128);
}

// What others take of it is its end, and the window with it: the answer so far is read again.
TEST(PausingSimulationTest, ComingBackFindsThePromptInTheCache) {
  Simulation simulation(Options(2, 2));
  const Simulation::Ask ask{.prompt = 1800, .answer = 2200, .shared = true, .begin = {1}};
  const auto older = simulation.Start(ask);
  Simulation::Ask other = ask;
  other.begin = {2};
  const auto paused = simulation.Start(other);
  RunUntilPaused(simulation, *paused);
  const auto written = static_cast<int64_t>(paused->tokens.size());
  simulation.Run();
  ExpectServed(*older);
  ExpectServed(*paused);
  EXPECT_EQ(paused->pauses.size(), 1u);
  EXPECT_LE(ReadAgain(simulation), written);
}

TEST(PausingSimulationTest, SlowReadersAndBatchRequestsGiveWayFirst) {
  for (const bool slow : {false, true}) {
    Simulation simulation(Options(1, 3));
    simulation.Start({.prompt = 100, .answer = 3500});
    Simulation::Ask ask{.prompt = 100, .answer = 3500};
    if (slow) {
      const absl::Duration until = simulation.now() + absl::Seconds(250);
      ask.reads = [&, until, n = 0](absl::Duration now) mutable {
        return ++n < 1100 || now > until;
      };
    } else {
      ask.priority = Priority::kBatch;
    }
    const auto first = simulation.Start(ask);
    const auto other = simulation.Start({.prompt = 100, .answer = 3500});
    RunUntilPaused(simulation, *first);
    EXPECT_EQ(other->pauses.size(), 0u);
    simulation.Run(absl::Hours(1));
    ExpectServed(*other);
    ExpectNothingLeft(simulation);
  }
}

// As many as there are places, and each of them takes a second to read a token.
TEST(PausingSimulationTest, ThoseWhoReadSlowlyHoldUpNobody) {
  const EngineOptions options = Options(8, 4);
  Simulation simulation(options);
  std::vector<std::shared_ptr<Stream>> slow(options.max_sequences);
  for (auto& stream : slow) {
    Simulation::Ask ask{.client = "slow", .prompt = 100, .answer = 300, .shared = true};
    ask.reads = [&stream, full = false](absl::Duration now) mutable {
      if (stream == nullptr) return true;
      const double unread =
          static_cast<double>(stream->tokens.size()) - absl::ToDoubleSeconds(now - stream->asked);
      full = unread > (full ? 20 : 40);
      return !full;
    };
    stream = simulation.Start(ask);
  }
  std::vector<std::shared_ptr<Stream>> others;
  for (int i = 0; i < 40; ++i) {
    simulation.At(simulation.now() + absl::Seconds(10 + 5 * i), [&] {
      others.push_back(simulation.Start({.client = "other", .prompt = 50, .answer = 30}));
    });
  }
  simulation.Run();
  ASSERT_EQ(others.size(), 40u);
  for (const auto& other : others) {
    ExpectServed(*other);
    EXPECT_EQ(other->pauses.size(), 0u);
    EXPECT_LE(other->FirstToken(), absl::Seconds(5));
  }
  for (const auto& stream : slow) {
    ExpectServed(*stream);
    EXPECT_GT(*stream->ended - stream->asked, absl::Minutes(4));
  }
  ExpectNothingLeft(simulation);
}

// Back in memory it would only be held.
TEST(PausingSimulationTest, WhoDoesNotReadStaysPaused) {
  EngineOptions options = Options(1, 2);
  options.max_hold = absl::Hours(1);
  Simulation simulation(options);
  const auto older = simulation.Start({.prompt = 500, .answer = 3500});
  Simulation::Ask ask{.prompt = 500, .answer = 3500};
  bool reads = true;
  ask.reads = [&](absl::Duration) { return reads; };
  const auto paused = simulation.Start(ask);
  RunUntilPaused(simulation, *paused);
  reads = false;
  simulation.Run(absl::Minutes(1));
  simulation.engine().Cancel(older->handle);
  simulation.Run(absl::Minutes(1));
  EXPECT_EQ(simulation.engine().load().running, 0);
  EXPECT_EQ(simulation.engine().load().paused, 1);
  EXPECT_EQ(simulation.engine().load().kv_bytes_used, 0u);
  reads = true;
  simulation.Run();
  ExpectServed(*paused);
  ExpectNothingLeft(simulation);
}

TEST(PausingSimulationTest, EndsWhoIsPaused) {
  enum class By { kCancel, kDeadline, kShutdown, kLimit };
  for (const By by : {By::kCancel, By::kDeadline, By::kShutdown, By::kLimit}) {
    SCOPED_TRACE(static_cast<int>(by));
    Simulation simulation(Options(1, 2));
    const auto older = simulation.Start({.prompt = 500, .answer = 3500});
    Simulation::Ask ask{.prompt = 500, .answer = 3500};
    bool reads = true;
    ask.reads = [&](absl::Duration) { return reads; };
    if (by == By::kDeadline) ask.time_limit = absl::Minutes(3);
    const auto younger = simulation.Start(ask);
    RunUntilPaused(simulation, *younger);
    const size_t tokens = younger->tokens.size();
    if (by == By::kCancel) simulation.engine().Cancel(younger->handle);
    if (by == By::kShutdown) simulation.engine().Shutdown();
    reads = by != By::kLimit;
    simulation.Run(absl::Minutes(2));
    ASSERT_TRUE(younger->ended.has_value());
    EXPECT_EQ(GetErrorDetail(younger->status).reason, by == By::kCancel     ? "CANCELLED"
                                                      : by == By::kDeadline ? "DEADLINE_EXCEEDED"
                                                      : by == By::kShutdown ? "DRAIN_DEADLINE"
                                                                            : "CLIENT_TOO_SLOW");
    EXPECT_EQ(younger->tokens.size(), tokens);
    simulation.Run();
    if (by != By::kShutdown) ExpectServed(*older);
    ExpectNothingLeft(simulation);
  }
}

// Whoever is paused, but for slow readers, came after another one that has begun and not ended.
void ExpectTheOldestWasNeverPaused(const Simulation& simulation) {
  for (const auto& paused : simulation.streams()) {
    if (paused->ask.reads != nullptr) continue;
    for (const absl::Duration at : paused->pauses) {
      EXPECT_TRUE(absl::c_any_of(simulation.streams(), [&](const auto& other) {
        return other->handle < paused->handle && other->admitted && *other->admitted <= at &&
               *other->ended >= at;
      }));
    }
  }
}

// Any traffic in any memory: all end, nothing is left of any, and of those who read neither short
// answers nor the oldest were paused.
TEST(PausingSimulationTest, EveryRequestEnds) {
  size_t pauses = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const auto any = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    EngineOptions options = Options(1 + any(0, 10) / 10.0, any(2, 8), any(1500, 5000));
    options.chunk = any(1, 600);
    options.max_hold = absl::Seconds(any(1, 200));
    Simulation simulation(options);
    for (int i = 0; i < 30; ++i) {
      const int prompt = any(1, 1000);
      Simulation::Ask ask{.client = absl::StrCat(any(1, 3)),
                          .prompt = prompt,
                          .answer = any(1, any(0, 1) == 0 ? 100 : options.context_length - prompt),
                          .shared = any(0, 2) > 0,
                          .begin = {any(1, 5)},
                          .priority = any(0, 2) == 0 ? Priority::kBatch : Priority::kNormal};
      if (any(0, 3) == 0) ask.time_limit = absl::Seconds(any(0, 1000));
      const absl::Duration at = simulation.now() + absl::Seconds(any(0, 300));
      if (any(0, 3) == 0) {
        const absl::Duration from = at + absl::Seconds(any(0, 300));
        const absl::Duration to = from + absl::Seconds(any(0, 100));
        ask.reads = [=](absl::Duration now) { return now < from || now >= to; };
      }
      std::optional<absl::Duration> leaves;
      if (any(0, 5) == 0) leaves = at + absl::Seconds(any(0, 600));
      simulation.At(at, [&simulation, ask, leaves] {
        const Engine::Handle handle = simulation.Start(ask)->handle;
        if (!leaves) return;
        simulation.At(*leaves, [&simulation, handle] { simulation.engine().Cancel(handle); });
      });
    }
    simulation.Run(absl::Hours(1000));
    EXPECT_EQ(simulation.streams().size(), 30u);
    for (const auto& stream : simulation.streams()) {
      ASSERT_TRUE(stream->ended.has_value());
      if (stream->status.ok()) ExpectServed(*stream);
      pauses += stream->pauses.size();
      if (stream->ask.reads != nullptr) continue;
      ASSERT_LE(stream->pauses.size(), static_cast<size_t>(kMostPauses));
      if (stream->ask.answer <= kPromisedRows) {
        ASSERT_EQ(stream->pauses.size(), 0u);
      }
    }
    ExpectTheOldestWasNeverPaused(simulation);
    ExpectNothingLeft(simulation);
  }
  EXPECT_GT(pauses, 50u);
}

}  // namespace
}  // namespace softsplice
