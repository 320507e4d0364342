// Who is paused when memory is short, and that no answer changes by it.
#include "decoder_svc/engine/pausing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "decoder_svc/engine/engine.h"
#include "tests/decoder_svc/engine/sink.h"

namespace softsplice {
namespace {

TEST(PromisedPositionsTest, IsAllOrSomeOfALongAnswer) {
  EXPECT_EQ(PromisedPositions({.given = 100, .most = 300}), 300);
  EXPECT_EQ(PromisedPositions({.given = 100, .most = 100 + kPromisedRows}), 1124);
  EXPECT_EQ(PromisedPositions({.given = 100, .most = 8192}), 1124);
  EXPECT_EQ(PromisedPositions({.given = 3000, .most = 8192, .pauses = 1}), 4024);
  EXPECT_EQ(PromisedPositions({.given = 3000, .most = 8192, .pauses = 2}), 8192);
  EXPECT_EQ(PromisedPositions({.given = 100, .most = 8192, .cannot_return = true}), 8192);
}

TEST(WhoIsPausedTest, TheYoungestOfTheLowestClass) {
  const MemoryHolder oldest{.age = 1}, older{.age = 2}, younger{.age = 3};
  const MemoryHolder batch{.age = 2, .batch = true}, slow{.age = 2, .held = true};
  EXPECT_EQ(WhoIsPaused({older, younger, oldest}), 1u);
  EXPECT_EQ(WhoIsPaused({oldest, batch, younger}), 1u);
  EXPECT_EQ(WhoIsPaused({oldest, slow, younger, {.age = 4, .batch = true}}), 1u);
}

TEST(WhoIsPausedTest, NeitherTheOldestNorWhoIsPromisedAll) {
  const MemoryHolder promised{.age = 9, .batch = true, .held = true, .promised_all = true};
  EXPECT_EQ(WhoIsPaused({}), std::nullopt);
  EXPECT_EQ(WhoIsPaused({{.age = 1, .batch = true, .held = true}, promised}), std::nullopt);
  EXPECT_EQ(WhoIsPaused({{.age = 1, .batch = true, .held = true}, {.age = 2}, promised}), 1u);
}

// Of any number in any order, by what is promised of each one.
TEST(WhoIsPausedTest, HoldsItsPromisesForAll) {
  std::mt19937 random(1);
  const auto flip = [&] { return random() % 2 == 0; };
  for (int round = 0; round < 10000; ++round) {
    std::vector<MemoryHolder> all(random() % 9);
    for (size_t i = 0; i < all.size(); ++i) all[i] = {i + 1, flip(), flip(), flip()};
    std::shuffle(all.begin(), all.end(), random);
    const auto chosen = WhoIsPaused(all);
    for (const MemoryHolder& other : all) {
      const bool may = other.age > 1 && !other.promised_all;
      if (!chosen) {
        ASSERT_FALSE(may);
        continue;
      }
      const MemoryHolder& paused = all[*chosen];
      ASSERT_TRUE(paused.age > 1 && !paused.promised_all);
      if (!may) continue;
      ASSERT_TRUE(paused.held || !other.held);
      if (paused.held != other.held) continue;
      ASSERT_TRUE(paused.batch || !other.batch);
      if (paused.batch != other.batch) continue;
      ASSERT_GE(paused.age, other.age);
    }
  }
}

TEST(WhoMakesRoomTest, TheYoungestThatIsHeldAndCanComeBack) {
  const MemoryHolder oldest{.age = 1, .held = true, .promised_all = true}, reads{.age = 2};
  const MemoryHolder lost{.age = 4, .held = true, .cannot_return = true};
  const MemoryHolder batch{.age = 3, .batch = true, .held = true};
  EXPECT_EQ(WhoMakesRoom({}, false), std::nullopt);
  EXPECT_EQ(WhoMakesRoom({reads, lost}, false), std::nullopt);
  EXPECT_EQ(WhoMakesRoom({oldest, reads, lost}, false), 0u);
  EXPECT_EQ(WhoMakesRoom({oldest, reads, batch, lost}, false), 2u);
  EXPECT_EQ(WhoMakesRoom({oldest, reads, batch, lost}, true), 2u);
  EXPECT_EQ(WhoMakesRoom({oldest, reads}, true), std::nullopt) << "a batch request waits";
}

struct Answered {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Answered&) const = default;
};

class PausingTest : public testing::Test {
 protected:
  static constexpr int kContext = 2048;
  static constexpr int kSequences = 4;

  // `memory`: of what all of them need.
  void Start(double memory) {
    EngineOptions options{.backend = {.threads = 1},
                          .context_length = kContext,
                          .chunk = 100,
                          .max_sequences = kSequences};
    options.kv_memory = static_cast<uint64_t>(static_cast<double>(all_) * memory);
    auto engine = Engine::Load(*file_, options, {});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    if (all_ == 0) all_ = engine_->load().kv_bytes_total;
  }
  EngineRequest Request(int number) {
    EngineRequest request;
    for (int i = 0; i < 150; ++i) {
      request.prompt.tokens.push_back(2 + (number * 7919 + i * 31) % 251);
    }
    request.prompt.soft = {
        {.first = 40,
         .rows = 20,
         .values = std::make_shared<const std::vector<float>>(20 * engine_->info().dim, 0.25f),
         .name = "picture"}};
    if (number % 2 == 1) request.sampling = {.temperature = 1.5f, .repetition_penalty = 1.1f};
    request.sampling.seed = 7;
    request.ignore_stop_tokens = true;
    return request;
  }
  // All of them, before the first one writes its second token.
  std::vector<std::shared_ptr<Sink>> Submit(std::vector<EngineRequest> requests,
                                            Priority priority_of_second = Priority::kNormal) {
    const auto all_are_here = std::make_shared<Event>();
    std::vector<std::shared_ptr<Sink>> sinks;
    for (EngineRequest& request : requests) {
      const Priority priority = sinks.size() == 1 ? priority_of_second : Priority::kNormal;
      sinks.push_back(std::make_shared<Sink>());
      if (sinks.size() == 1) {
        sinks[0]->on_token = [all_are_here](const SampledToken&) {
          all_are_here->WaitForNotification();
          return true;
        };
      }
      EXPECT_TRUE(
          engine_->Submit(*engine_->Reserve(priority), std::move(request), sinks.back()).ok());
    }
    all_are_here->Notify();
    return sinks;
  }
  static Answered Get(const std::shared_ptr<Sink>& sink) {
    EXPECT_TRUE(sink->Wait().ok()) << sink->Wait().status();
    Answered answered{.tokens = sink->tokens, .logprobs = {}};
    for (const SampledToken& token : sink->sampled) {
      answered.logprobs.push_back(token.chosen.logprob);
    }
    return answered;
  }

  const std::unique_ptr<gguf::File> file_ = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  std::unique_ptr<Engine> engine_;
  uint64_t all_ = 0;  // bytes that all of them need
};

// Greedy ones and sampled ones, with penalties and soft rows, with and without the cache.
TEST_F(PausingTest, APausedAnswerGoesOnToTheBit) {
  Start(1);
  std::vector<Answered> alone;
  for (int i = 0; i < kSequences; ++i) alone.push_back(Get(Submit({Request(i)})[0]));
  for (const bool share_cache : {true, false}) {
    Start(0.6);
    std::vector<EngineRequest> requests;
    for (int i = 0; i < kSequences; ++i) {
      requests.push_back(Request(i));
      requests.back().share_cache = share_cache;
    }
    int greedy = 0, sampled = 0;  // pauses
    const auto sinks = Submit(std::move(requests));
    for (int i = 0; i < kSequences; ++i) {
      EXPECT_EQ(Get(sinks[i]), alone[i]) << i;
      EXPECT_EQ(sinks[i]->Wait()->completion_tokens, kContext - 150 + 1);
      EXPECT_EQ(sinks[i]->Wait()->cached_tokens, 0) << "what was read before a pause is no hit";
      EXPECT_EQ(sinks[i]->Wait()->pauses, sinks[i]->pauses);
      (i % 2 == 1 ? sampled : greedy) += sinks[i]->pauses;
    }
    EXPECT_GT(greedy, 0);
    EXPECT_GT(sampled, 0);
    EXPECT_EQ(engine_->load().kv_bytes_used, 0u);
  }
}

// Nobody could make them again in the middle of an answer.
TEST_F(PausingTest, RowsWithoutValuesAreNotGivenUp) {
  Start(1);
  Start(0.7);
  EngineRequest known = Request(3);
  known.max_tokens = 1;
  Get(Submit({known})[0]);
  EngineRequest rowless = Request(3);
  rowless.prompt.soft[0].values = nullptr;
  const auto sinks = Submit({Request(0), rowless, Request(1)}, Priority::kBatch);
  for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok()) << sink->Wait().status();
  EXPECT_EQ(sinks[1]->pauses, 0) << "a batch request would be the first";
  EXPECT_GT(sinks[2]->pauses, 0);
}

}  // namespace
}  // namespace softsplice
