// Prompts' beginnings that are read before the rest is there: what the request finds, and who must
// not notice.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/decoder_svc/engine/engine_testing.h"
#include "tests/decoder_svc/engine/simulation.h"

namespace softsplice {
namespace {

using Stream = Simulation::Stream;

constexpr StepCost kCost;

EngineOptions OptionsOfSimulation() {
  return {.context_length = 8192, .max_queue = 1 << 20, .max_wait = absl::InfiniteDuration()};
}

// Soft rows among what is read.
TEST_F(EngineTest, WhatWasReadAheadIsFoundWithTheBitsOfAFreshRead) {
  const Goldens image("tests/data/model/tiny-image.bin");
  EngineRequest whole = Greedy(text_.Ints("long.tokens"), 24);
  const std::vector<int32_t> more = text_.Ints("long.tokens");
  whole.prompt.tokens.insert(whole.prompt.tokens.end(), more.begin(), more.end());
  EngineOptions options = Options();
  auto values = std::make_shared<std::vector<float>>(20 * 160);
  for (size_t i = 0; i < values->size(); ++i) (*values)[i] = static_cast<float>(i % 7) - 3;
  whole.prompt.soft = {{.first = 30, .rows = 20, .values = values, .name = "these"}};
  Start(options);
  EngineRequest fresh = whole, beginning = whole;
  fresh.share_cache = false;
  beginning.prompt.tokens.resize(301);
  const auto alone = Submit(fresh);
  ASSERT_TRUE(alone->Wait().ok()) << alone->Wait().status();

  auto ahead = std::make_shared<Sink>();
  ASSERT_TRUE(engine_->ReadAhead(Priority::kNormal, beginning, ahead).ok());
  ASSERT_TRUE(ahead->Wait().ok()) << ahead->Wait().status();
  EXPECT_EQ(ahead->prefill.back(), 301);
  EXPECT_TRUE(ahead->tokens.empty());
  ExpectIdle();
  const auto then = Submit(whole);
  ASSERT_TRUE(then->Wait().ok()) << then->Wait().status();
  EXPECT_EQ(then->Wait()->cached_tokens, 301);
  EXPECT_EQ(then->tokens, alone->tokens);
  for (size_t i = 0; i < then->sampled.size(); ++i) {
    EXPECT_EQ(then->sampled[i].chosen.logprob, alone->sampled[i].chosen.logprob) << i;
  }
}

TEST_F(EngineTest, WhatWasReadUntilItIsCancelledIsKept) {
  EngineOptions options = Options();
  options.chunk = 8;
  Start(options);
  const EngineRequest whole = Greedy(text_.Ints("long.tokens"), 5);
  auto ahead = std::make_shared<Sink>();
  Engine::Handle handle = 0;
  Event submitted;
  ahead->on_prefill = [&](int read) {
    submitted.WaitForNotification();
    if (read == 88) engine_->Cancel(handle);
  };
  handle = *engine_->ReadAhead(Priority::kNormal, whole, ahead);
  submitted.Notify();
  EXPECT_EQ(ahead->Wait().status().code(), absl::StatusCode::kCancelled);
  ExpectIdle();
  const auto then = Submit(whole);
  ASSERT_TRUE(then->Wait().ok()) << then->Wait().status();
  EXPECT_EQ(then->Wait()->cached_tokens, 88);
}

TEST_F(EngineTest, ReadsNothingAheadThatNobodyMayFind) {
  Start(Options());
  EngineRequest request = Greedy(text_.Ints("long.tokens"), 5);
  request.share_cache = false;
  EXPECT_EQ(
      engine_->ReadAhead(Priority::kNormal, request, std::make_shared<Sink>()).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineTest, EndsWhatIsReadAheadWhenItStops) {
  Start(Options());
  Event gate;
  Block(gate);  // the only slot
  auto ahead = std::make_shared<Sink>();
  ASSERT_TRUE(
      engine_->ReadAhead(Priority::kNormal, Greedy(text_.Ints("long.tokens"), 5), ahead).ok());
  std::thread stop([&] { engine_->Shutdown(); });
  while (engine_->Reserve().ok()) std::this_thread::yield();
  gate.Notify();
  EXPECT_EQ(ahead->Wait().status().code(), absl::StatusCode::kUnavailable);
  stop.join();
}

// The only slot is another's as soon as somebody comes, and what was read is not lost.
TEST(ReadAheadSimulationTest, GivesWayToWhoeverComes) {
  EngineOptions options = OptionsOfSimulation();
  options.max_sequences = 1;
  Simulation simulation(options);
  const auto ahead = simulation.ReadAhead({.prompt = 4096});
  std::shared_ptr<Stream> other, request;
  simulation.At(simulation.now() + absl::Seconds(4), [&] {
    other = simulation.Start({.client = "other", .prompt = 100, .answer = 10, .begin = {2}});
  });
  simulation.At(simulation.now() + absl::Seconds(30), [&] {
    request = simulation.Start({.prompt = 5000, .answer = 10, .shared = true});
  });
  simulation.Run();
  EXPECT_TRUE(absl::IsAborted(ahead->status)) << ahead->status;
  ASSERT_TRUE(other->status.ok()) << other->status;
  EXPECT_LE(other->FirstToken(), kCost.Of(0, options.ChunkOn({})) + kCost.Of(1, 99));
  ASSERT_TRUE(request->status.ok()) << request->status;
  EXPECT_EQ(request->cached % options.ChunkOn({}), 0);
  EXPECT_GE(request->cached, 512);
  EXPECT_EQ(simulation.rows(), 110 - 1 + 5010 - 1) << "no row was read twice";
}

// It takes rows that nobody wants: two prompts take as long beside it as without it.
TEST(ReadAheadSimulationTest, DelaysNobodyByMoreThanTheStepThatRuns) {
  const EngineOptions options = OptionsOfSimulation();
  absl::Duration alone;
  for (const bool beside : {false, true}) {
    Simulation simulation(options);
    if (beside) simulation.ReadAhead({.client = "ahead", .prompt = 8000, .begin = {2}});
    std::vector<std::shared_ptr<Stream>> streams;
    simulation.At(simulation.now() + absl::Seconds(1), [&] {
      for (const char* client : {"a", "b"}) {
        streams.push_back(simulation.Start({.client = client, .prompt = 3000, .answer = 1}));
      }
    });
    simulation.Run();
    absl::Duration last;
    for (const auto& stream : streams) last = std::max(last, stream->FirstToken());
    if (!beside) {
      alone = last;
    } else {
      // The last chunk of the two is full of it.
      EXPECT_LE(last, alone + 2 * kCost.Of(0, options.ChunkOn({})));
    }
  }
}

// As when an application's pictures all come behind the same system prompt.
TEST(ReadAheadSimulationTest, OneOfSeveralReadsWhatTheyBeginWith) {
  Simulation simulation(OptionsOfSimulation());
  std::vector<std::shared_ptr<Stream>> ahead;
  for (int i = 0; i < 5; ++i) ahead.push_back(simulation.ReadAhead({.prompt = 2000}));
  simulation.Run();
  EXPECT_LE(simulation.rows(), 2000 + 4 * 128);
  for (const auto& stream : ahead) EXPECT_TRUE(stream->ended.has_value());
}

// Memory for two of the whole context, and nobody notices that some of it is used.
TEST(ReadAheadSimulationTest, LeavesNothingBehindInAnyOrder) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const auto any = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    EngineOptions options = OptionsOfSimulation();
    options.max_sequences = any(1, 4);
    options.chunk = any(16, 600);
    options.kv_memory = Simulation::LeastMemory(options) * any(1, 2);
    Simulation simulation(options);
    std::vector<std::shared_ptr<Stream>> ahead;
    for (int i = 0; i < 40; ++i) {
      const Simulation::Ask ask{.client = absl::StrCat(any(1, 3)),
                                .prompt = any(1, 6000),
                                .answer = any(1, 2000),
                                .shared = any(0, 3) > 0,
                                .begin = {any(1, 3)},
                                .priority = any(0, 2) == 0 ? Priority::kBatch : Priority::kNormal};
      const absl::Duration at = simulation.now() + absl::Seconds(any(0, 400));
      simulation.At(at, [&, ask] {
        ahead.push_back(simulation.ReadAhead(ask));
        simulation.At(simulation.now() + absl::Seconds(3), [&, ask, handle = ahead.back()->handle] {
          simulation.engine().Cancel(handle);
          simulation.Start(ask);
        });
      });
    }
    simulation.Run(absl::InfiniteDuration());
    ASSERT_EQ(simulation.streams().size(), 40u);
    for (const auto& stream : simulation.streams()) {
      ASSERT_TRUE(stream->status.ok()) << stream->status;
      EXPECT_EQ(static_cast<int>(stream->tokens.size()), stream->ask.answer);
    }
    for (const auto& stream : ahead) EXPECT_TRUE(stream->ended.has_value());
    const EngineLoad load = simulation.engine().load();
    EXPECT_EQ(load.reserved + load.queued + load.running + load.held, 0);
    EXPECT_EQ(load.kv_bytes_used, 0u);
  }
}

}  // namespace
}  // namespace softsplice
