// Prompts that begin like earlier ones: what is not read again, and that no answer changes by it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "decoder_svc/engine/engine.h"
#include "tests/decoder_svc/engine/simulation.h"
#include "tests/decoder_svc/engine/sink.h"

namespace softsplice {
namespace {

std::vector<int32_t> Text(int seed, int tokens) {
  std::vector<int32_t> text;
  for (int i = 0; i < tokens; ++i) text.push_back(2 + (seed * 7919 + i * 31) % 251);
  return text;
}

std::vector<int32_t> operator+(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Answered {
  int cached = 0;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Answered& other) const {
    return tokens == other.tokens && logprobs == other.logprobs;
  }
};

class PrefixCacheTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    file_ = *gguf::File::Open("tests/data/models/kquant-Q4_0.gguf");
    EngineOptions options{.backend = {.threads = 2},
                          .context_length = 2048,
                          .chunk = 100,
                          .max_wait = absl::InfiniteDuration(),
                          .max_sequences = 4};
    options.backend.name = GetParam();
    auto engine = Engine::Load(*file_, options, {});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  EngineRequest Request(std::vector<int32_t> prompt, bool fresh = false, float temperature = 0) {
    EngineRequest request;
    request.prompt.tokens = std::move(prompt);
    request.sampling.temperature = temperature;
    request.sampling.seed = 5;
    request.max_tokens = 12;
    request.alternatives = 1;
    request.ignore_stop_tokens = true;
    request.share_cache = !fresh;
    return request;
  }
  std::shared_ptr<Sink> Submit(EngineRequest request) {
    auto sink = std::make_shared<Sink>();
    const auto handle = engine_->Submit(*engine_->Reserve(), std::move(request), sink);
    EXPECT_TRUE(handle.ok()) << handle.status();
    return sink;
  }
  Answered Get(const std::shared_ptr<Sink>& sink) {
    Answered answered;
    EXPECT_TRUE(sink->Wait().ok()) << sink->Wait().status();
    if (!sink->Wait().ok()) return answered;
    answered.cached = sink->Wait()->cached_tokens;
    answered.tokens = sink->tokens;
    for (const SampledToken& token : sink->sampled) {
      answered.logprobs.push_back(token.chosen.logprob);
    }
    return answered;
  }
  Answered Ask(EngineRequest request) { return Get(Submit(std::move(request))); }

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(PrefixCacheTest, AConversationGoesOnWithTheBitsOfAFreshRead) {
  for (const float temperature : {0.0f, 1.0f}) {
    std::vector<int32_t> history = Text(static_cast<int>(temperature), 333);
    int known = 0;
    for (int turn = 0; turn < 4; ++turn) {
      const Answered cached = Ask(Request(history, false, temperature));
      const Answered fresh = Ask(Request(history, true, temperature));
      EXPECT_EQ(cached.cached, known) << "turn " << turn;
      EXPECT_EQ(fresh.cached, 0);
      EXPECT_EQ(cached, fresh) << "turn " << turn;
      known = static_cast<int>(history.size()) + 11;  // the last token of an answer is never read
      history = history + cached.tokens + Text(100 + turn, 90 + 40 * turn);
    }
  }
}

TEST_P(PrefixCacheTest, AnswersDoNotDependOnCompany) {
  const auto system = Text(1, 400);
  std::vector<Answered> alone;
  for (int i = 0; i < 8; ++i) alone.push_back(Ask(Request(system + Text(10 + i, 60), true)));
  for (int round = 0; round < 3; ++round) {
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < 8; ++i) sinks.push_back(Submit(Request(system + Text(10 + i, 60))));
    for (int i = 0; i < 8; ++i) EXPECT_EQ(Get(sinks[i]), alone[i]) << i;
  }
}

// Callers that begin alike and go their own ways, in any order and company: nobody gets a token
// that is not its own, or a count that its own scope does not explain.
TEST_P(PrefixCacheTest, NobodyFindsWhatOthersSaid) {
  constexpr int kConversations = 6, kScopes = 3;  // those of a round are of different scopes
  std::mt19937 random(1);
  std::vector<std::vector<int32_t>> conversations(kConversations, Text(1, 300));
  std::map<int, std::vector<std::vector<int32_t>>> read;  // of each scope
  int cached = 0;
  for (int round = 0; round < 10; ++round) {
    std::map<int, std::shared_ptr<Sink>> asked;
    for (int i = static_cast<int>(random() % kConversations), n = 1 + round % 3; n > 0; --n, ++i) {
      const int who = i % kConversations;
      conversations[who] = conversations[who] + Text(100 * round + who, 40);
      EngineRequest request = Request(conversations[who], false, who % 2 == 0 ? 0.0f : 1.0f);
      request.cache_scope = absl::StrCat("scope ", who % kScopes);
      asked[who] = Submit(std::move(request));
    }
    for (const auto& [who, sink] : asked) {
      std::vector<int32_t>& history = conversations[who];
      const Answered answer = Get(sink);
      EXPECT_EQ(answer, Ask(Request(history, true, who % 2 == 0 ? 0.0f : 1.0f))) << who;
      size_t most = 0;
      for (const std::vector<int32_t>& other : read[who % kScopes]) {
        most = std::max<size_t>(most, absl::c_mismatch(history, other).first - history.begin());
      }
      EXPECT_LE(static_cast<size_t>(answer.cached), most) << "round " << round << ", " << who;
      cached += answer.cached;
      history = history + answer.tokens;
      read[who % kScopes].push_back(history);
    }
  }
  EXPECT_GT(cached, 1000);
}

TEST_P(PrefixCacheTest, SoftRowsAreKnownByTheirName) {
  const auto rows = [&](float value, const std::string& name) {
    EngineRequest request = Request(Text(1, 300));
    request.prompt.soft = {
        {.first = 100,
         .rows = 50,
         .values = std::make_shared<const std::vector<float>>(50 * engine_->info().dim, value),
         .name = name}};
    return request;
  };
  const Answered first = Ask(rows(0.25f, "a"));
  const Answered again = Ask(rows(0.25f, "a"));
  EXPECT_EQ(again.cached, 299);
  EXPECT_EQ(again, first);
  EXPECT_LE(Ask(rows(0.5f, "b")).cached, 100) << "another picture";
  EXPECT_LE(Ask(rows(0.25f, "")).cached, 100);
  EXPECT_LE(Ask(rows(0.25f, "")).cached, 100) << "what has no name is never known";
}

TEST_P(PrefixCacheTest, RowsThatAreCachedNeedNoValues) {
  const auto request = [&](int question, bool values) {
    EngineRequest asked = Request(Text(1, 300) + Text(question, 400));
    asked.prompt.soft = {{.first = 100, .rows = 50, .name = "a"}};
    if (values) {
      asked.prompt.soft[0].values =
          std::make_shared<const std::vector<float>>(50 * engine_->info().dim, 0.25f);
    }
    return asked;
  };
  EXPECT_TRUE(absl::IsAborted(Submit(request(2, false))->Wait().status())) << "not there yet";
  const Answered first = Ask(request(2, true));
  EXPECT_EQ(Ask(request(2, false)), first);
  // Another question parts before a window that is kept: the rows would have to be read again.
  EXPECT_TRUE(absl::IsAborted(Submit(request(3, false))->Wait().status()));
  EngineRequest fresh = request(2, false);
  fresh.share_cache = false;
  EXPECT_TRUE(absl::IsInvalidArgument(
      engine_->Submit(*engine_->Reserve(), fresh, std::make_shared<Sink>()).status()));
  EXPECT_EQ(engine_->load().queued + engine_->load().running, 0);
}

INSTANTIATE_TEST_SUITE_P(Backends, PrefixCacheTest, testing::Values("cpu", "cpu-generic"));

// A prompt that many begin with is read once, though all come at the same time.
TEST(PrefixCacheSimulationTest, FollowersWaitForTheirLeader) {
  Simulation simulation({.context_length = 8192, .chunk = 512, .max_sequences = 8});
  for (int i = 0; i < 30; ++i) simulation.Start({.prompt = 4000 + i, .answer = 4, .shared = true});
  simulation.Run();
  int read = 0;
  for (const auto& stream : simulation.streams()) {
    ASSERT_TRUE(stream->status.ok()) << stream->status;
    read += stream->ask.prompt - stream->cached;
  }
  EXPECT_LT(read, 4000 + 30 * 30);
}

// What is told as cached is what the backend was not given, however often a prompt had to wait for
// memory while what it would have found came and went.
TEST(PrefixCacheSimulationTest, CachedTokensAreTheRowsThatWereNotRun) {
  EngineOptions options{.context_length = 4096,
                        .chunk = 256,
                        .max_queue = 1 << 20,
                        .max_wait = absl::InfiniteDuration(),
                        .max_sequences = 6};
  options.kv_memory = 2 * Simulation::LeastMemory(options);
  int64_t told = 0;  // rows
  options.on_step = [&](const StepReport& step) { told += step.rows; };
  Simulation simulation(options);
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const Simulation::Ask ask{.client = absl::StrCat(i % 3),
                              .prompt = 1 + static_cast<int>(random() % 3000),
                              .answer = 1 + static_cast<int>(random() % 200),
                              .shared = i % 5 > 0,
                              .begin = {1 + static_cast<int>(random() % 4)}};
    simulation.At(simulation.now() + absl::Seconds(random() % 1000),
                  [&simulation, ask] { simulation.Start(ask); });
  }
  simulation.Run(absl::Hours(10));
  int64_t rows = 0, cached = 0, waited = 0;
  for (const auto& stream : simulation.streams()) {
    ASSERT_TRUE(stream->status.ok()) << stream->status;
    rows += stream->ask.prompt - stream->cached + stream->ask.answer - 1;
    cached += stream->cached;
    waited += *stream->admitted - stream->asked > absl::Seconds(5) ? 1 : 0;
  }
  EXPECT_EQ(simulation.rows(), rows);
  EXPECT_EQ(told, rows);
  EXPECT_GT(cached, 10000);
  const EngineLoad load = simulation.engine().load();
  EXPECT_EQ(load.kv_bytes_used, 0u);
  EXPECT_GT(load.kv_bytes_cached, 0u);
  EXPECT_LE(load.kv_bytes_cached, load.kv_bytes_total);
  EXPECT_GT(waited, 50);
}

// A conversation is never a pin: ten times as many as fit wait for each other, and all go on.
TEST(PrefixCacheSimulationTest, ConversationsOfTenTimesTheMemoryAllEnd) {
  EngineOptions options{.context_length = 4096,
                        .max_queue = 1 << 20,
                        .max_wait = absl::InfiniteDuration(),
                        .max_sequences = 4};
  options.kv_memory = 2 * Simulation::LeastMemory(options);
  Simulation simulation(options);
  constexpr int kConversations = 32, kTurns = 6, kRows = 450, kAnswer = 100;
  ASSERT_GT(kConversations * kTurns * kRows, 10 * 2 * options.context_length);
  const std::function<void(int, int)> ask = [&](int conversation, int turn) {
    simulation.Start({.client = absl::StrCat(conversation),
                      .prompt = kRows * turn,
                      .answer = kAnswer,
                      .shared = true,
                      .begin = {conversation},
                      .then = [&ask, conversation, turn](const Simulation::Stream&) {
                        if (turn < kTurns) ask(conversation, turn + 1);
                      }});
  };
  for (int i = 0; i < kConversations; ++i) ask(i, 1);
  simulation.Run(absl::Hours(10));
  ASSERT_EQ(simulation.streams().size(), size_t{kConversations * kTurns});
  int forgotten = 0;
  for (const auto& stream : simulation.streams()) {
    ASSERT_TRUE(stream->status.ok()) << stream->status;
    if (stream->ask.prompt > kRows && stream->cached == 0) ++forgotten;
  }
  EXPECT_GT(forgotten, 0) << "they do not fit";
  EXPECT_EQ(simulation.engine().load().kv_bytes_used, 0u);
}

// The next of them takes over.
TEST(PrefixCacheSimulationTest, ACancelledLeaderHandsTheReadingOn) {
  Simulation simulation({.context_length = 8192, .chunk = 512, .max_sequences = 8});
  for (int i = 0; i < 3; ++i) simulation.Start({.prompt = 6000, .answer = 2, .shared = true});
  simulation.At(simulation.now() + absl::Seconds(5),
                [&] { simulation.engine().Cancel(simulation.streams()[0]->handle); });
  simulation.Run();
  EXPECT_EQ(simulation.streams()[0]->status.code(), absl::StatusCode::kCancelled);
  const auto& second = *simulation.streams()[1];
  EXPECT_TRUE(second.status.ok());
  EXPECT_LT(second.cached, 6000) << "as far as the first one came";
  EXPECT_TRUE(simulation.streams()[2]->status.ok());
  EXPECT_EQ(simulation.streams()[2]->cached, 5999);
  EXPECT_EQ(simulation.engine().load().kv_bytes_used, 0u);
}

}  // namespace
}  // namespace softsplice
