// What the engine promises to those it serves, under traffic of every kind, in virtual time.
#include "tests/decoder_svc/engine/simulation.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

using Stream = Simulation::Stream;
using Streams = std::vector<std::shared_ptr<Stream>>;

constexpr StepCost kCost;

EngineOptions Options() {
  return {.context_length = 8192, .max_queue = 1 << 20, .max_wait = absl::InfiniteDuration()};
}

void ExpectAllServed(Simulation& simulation) {
  for (const auto& stream : simulation.streams()) {
    ASSERT_TRUE(stream->status.ok()) << stream->status;
    ASSERT_EQ(static_cast<int>(stream->tokens.size()), stream->ask.answer);
  }
}

// Between the tokens of answers, the longest last.
std::vector<absl::Duration> Gaps(const Streams& streams) {
  std::vector<absl::Duration> gaps;
  for (const auto& stream : streams) {
    for (size_t i = 1; i < stream->tokens.size(); ++i) {
      gaps.push_back(stream->tokens[i] - stream->tokens[i - 1]);
    }
  }
  std::sort(gaps.begin(), gaps.end());
  return gaps;
}

// Requests that come at random, of up to `prompt` and `answer` tokens.
struct Traffic {
  std::string client;
  double per_second;
  int prompt;
  int answer;
};

void Come(Simulation& simulation, const Traffic& traffic, absl::Duration span) {
  std::mt19937 random(1);
  std::exponential_distribution<double> pause(traffic.per_second);
  std::uniform_int_distribution<int> prompt(1, traffic.prompt), answer(1, traffic.answer);
  absl::Duration at = simulation.now();
  for (const absl::Duration end = at + span; at < end; at += absl::Seconds(pause(random))) {
    const Simulation::Ask ask{
        .client = traffic.client, .prompt = prompt(random), .answer = answer(random)};
    simulation.At(at, [&simulation, ask] { simulation.Start(ask); });
  }
}

// Asks again and again, the next time as soon as it is answered.
void Repeat(Simulation& simulation, const Simulation::Ask& ask, absl::Duration until) {
  Simulation::Ask once = ask;
  once.then = [&simulation, ask, until](const Stream&) {
    if (simulation.now() < until) Repeat(simulation, ask, until);
  };
  simulation.Start(std::move(once));
}

// Calm, busy, and more than there is time for.
const std::vector<std::vector<Traffic>> kMixes = {
    {{"chat", 0.3, 512, 256}},
    {{"long", 0.06, 8000, 128}},
    {{"chat", 0.2, 512, 256}, {"long", 0.01, 8000, 128}},
    {{"chat", 1, 512, 256}, {"one word", 1, 4000, 1}},
};

// `faster`: than the machine of the mixes.
void ExpectTokensWithinTheStallTarget(const EngineOptions& options, const StepCost& cost,
                                      double faster) {
  absl::Duration longest;
  for (size_t i = 0; i < kMixes.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("mix ", i));
    Simulation simulation(options, cost);
    for (Traffic traffic : kMixes[i]) {
      traffic.per_second *= faster;
      Come(simulation, traffic, absl::Minutes(5) / faster);
    }
    simulation.Run(absl::Hours(10));
    ExpectAllServed(simulation);
    const std::vector<absl::Duration> gaps = Gaps(simulation.streams());
    ASSERT_GT(gaps.size(), 500u);
    EXPECT_LE(gaps.back(), cost.Of(options.max_sequences, 0) + options.stall_target);
    longest = std::max(longest, gaps.back());
  }
  EXPECT_GT(longest, options.stall_target) << "prompts use it";
}

TEST(SimulationTest, TokensComeWithinTheStallTarget) {
  ExpectTokensWithinTheStallTarget(Options(), kCost, 1);
}

// Where a step is short and many rows cost little.
TEST(SimulationTest, TokensComeWithinTheStallTargetOfAGpu) {
  EngineOptions options = Options();
  options.chunk = 2048;
  options.max_sequences = 128;
  options.stall_target = absl::Milliseconds(40);
  const StepCost cost{.weights = absl::Milliseconds(5),
                      .logit_row = absl::Microseconds(60),
                      .prompt_row = absl::Microseconds(30)};
  ExpectTokensWithinTheStallTarget(options, cost, 100);
}

// It was fast once; now every other minute somebody else takes two thirds of the machine.
TEST(SimulationTest, TokensComeWithinTheStallTargetWhereTheMachineGetsSlower) {
  const EngineOptions options = Options();
  StepCost cost;
  cost.slower = [](absl::Duration now) {
    return now > absl::Minutes(1) && absl::ToInt64Minutes(now) % 2 == 1 ? 3.0 : 1.0;
  };
  Simulation simulation(options, cost);
  Come(simulation, {"chat", 0.1, 512, 256}, absl::Minutes(20));
  Come(simulation, {"long", 0.01, 8000, 128}, absl::Minutes(20));
  simulation.Run(absl::Hours(10));
  ExpectAllServed(simulation);
  const std::vector<absl::Duration> gaps = Gaps(simulation.streams());
  ASSERT_GT(gaps.size(), 5000u);
  const absl::Duration idle = 3 * cost.Of(options.max_sequences, 0);
  EXPECT_LE(gaps[gaps.size() * 99 / 100], idle + options.stall_target);
  EXPECT_LE(gaps.back(), idle + 3 * options.stall_target) << "a step is late once, when it begins";
}

// Whenever it comes, whoever the other one is.
TEST(SimulationTest, AShortPromptBesideALongOneIsReadWithinTwoChunks) {
  const EngineOptions options = Options();
  const absl::Duration chunk = kCost.Of(1, options.ChunkOn({}) - 1);
  for (const std::string client : {"the same", "another"}) {
    for (absl::Duration at = absl::ZeroDuration(); at < 6 * chunk; at += chunk / 7) {
      SCOPED_TRACE(absl::StrCat(client, " client, after ", absl::FormatDuration(at)));
      Simulation simulation(options);
      const auto longer = simulation.Start({.client = "the same", .prompt = 4096, .answer = 20});
      std::shared_ptr<Stream> shorter;
      simulation.At(simulation.now() + at, [&] {
        shorter =
            simulation.Start({.client = client, .prompt = options.ChunkOn({}) / 2, .answer = 20});
      });
      simulation.Run();
      ExpectAllServed(simulation);
      ASSERT_LT(shorter->asked, longer->tokens[0]);
      EXPECT_LE(shorter->FirstToken(), 2 * chunk);
    }
  }
}

// Half of what is read in a step is of the client that had least, so the oldest prompt of one of n
// clients has 1 / 2n of what prompts get, whatever the others ask for.
TEST(SimulationTest, ALongPromptIsReadBesideAnyNumberOfShortOnes) {
  const int rows = 6000;
  for (const int others : {1, 3}) {
    SCOPED_TRACE(absl::StrCat("beside ", others, " clients"));
    const EngineOptions options = Options();
    Simulation simulation(options);
    const absl::Duration until = simulation.now() + absl::Hours(1);
    for (int i = 0; i + 1 < options.max_sequences; ++i) {
      const std::string client = absl::StrCat(i % others);
      Repeat(simulation, {.client = client, .prompt = 100 + i, .answer = 8}, until);
    }
    std::shared_ptr<Stream> longer;
    simulation.At(simulation.now() + absl::Minutes(1), [&] {
      longer = simulation.Start({.client = "long", .prompt = rows, .answer = 1});
    });
    simulation.Run(absl::Hours(2));
    ExpectAllServed(simulation);
    ASSERT_LT(*longer->ended, until);
    // No slower than a prompt row each 5.3 ms among the rows that are written.
    const absl::Duration alone = rows * kCost.prompt_row;
    EXPECT_LE(longer->FirstToken(), 2 * (others + 1) * alone);
  }
}

// With the same to do, clients have the same, however many requests they send at once.
TEST(SimulationTest, ClientsShareTheEngine) {
  Simulation simulation(Options());
  const absl::Duration until = simulation.now() + absl::Minutes(30);
  for (int i = 0; i < 4; ++i) {
    Repeat(simulation, {.client = "few", .prompt = 600, .answer = 50}, until);
  }
  for (int i = 0; i < 40; ++i) {
    Repeat(simulation, {.client = "many", .prompt = 600, .answer = 50}, until);
  }
  simulation.Run(absl::Hours(2));
  ExpectAllServed(simulation);
  const auto tokens = [&](absl::string_view client) {
    double count = 0;
    for (const auto& stream : simulation.streams()) {
      if (stream->ask.client == client)
        count += std::lower_bound(stream->tokens.begin(), stream->tokens.end(), until) -
                 stream->tokens.begin();
    }
    return count;
  };
  EXPECT_NEAR(tokens("few") / tokens("many"), 1, 0.1);
}

TEST(SimulationTest, BatchRequestsGetOnByOneRowInTwenty) {
  Simulation simulation(Options());
  const absl::Duration from = simulation.now(), until = from + absl::Minutes(30);
  for (int i = 0; i < 20; ++i) {
    Repeat(simulation, {.prompt = 600, .answer = 50}, until);
    // One that writes can't use so much.
    Repeat(simulation, {.prompt = 2000, .answer = 1, .priority = Priority::kBatch}, until);
  }
  simulation.Run(absl::Hours(2));
  ExpectAllServed(simulation);
  double all = 0, batch = 0;
  for (const auto& stream : simulation.streams()) {
    if (*stream->ended > until) continue;
    const int rows = stream->ask.prompt + stream->ask.answer;
    all += rows;
    if (stream->ask.priority == Priority::kBatch) batch += rows;
  }
  EXPECT_NEAR(batch / all, 0.05, 0.01);
}

// It waits for the step that it came into; then batch requests wait.
TEST(SimulationTest, BatchRequestsHoldUpNobody) {
  const EngineOptions options = Options();
  Simulation simulation(options);
  const absl::Duration until = simulation.now() + absl::Minutes(30);
  for (int i = 0; i < 20; ++i) {
    Repeat(simulation, {.prompt = 2000, .answer = 100, .priority = Priority::kBatch}, until);
  }
  Streams normal;
  for (absl::Duration at = simulation.now() + absl::Seconds(5); at < until;
       at += absl::Seconds(51.7)) {
    simulation.At(at, [&] { normal.push_back(simulation.Start({.prompt = 400, .answer = 100})); });
  }
  simulation.Run(absl::Hours(2));
  ExpectAllServed(simulation);
  const absl::Duration chunk = kCost.Of(options.max_sequences, options.ChunkOn({}));
  for (const auto& stream : normal) EXPECT_LE(stream->FirstToken(), 2 * chunk);
  EXPECT_LE(Gaps(normal).back(), kCost.Of(options.max_sequences, 0) + options.stall_target);
}

// Clients that read slowly or not at all, that leave, whose time is short: all end, and nothing is
// left of any.
TEST(SimulationTest, EveryRequestEnds) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const auto any = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    EngineOptions options = Options();
    options.max_sequences = any(1, 8);
    options.chunk = any(1, 600);
    options.max_queue = any(1, 30);
    options.max_wait = absl::Seconds(any(1, 300));
    options.stall_target = absl::Milliseconds(any(0, 1000));
    Simulation simulation(options);
    for (int i = 0; i < 60; ++i) {
      Simulation::Ask ask{.client = absl::StrCat(any(1, 3)),
                          .prompt = any(1, any(1, 4000)),
                          .answer = any(1, 100),
                          .priority = any(0, 2) == 0 ? Priority::kBatch : Priority::kNormal};
      if (any(0, 3) == 0) ask.time_limit = absl::Seconds(any(0, 100));
      const absl::Duration at = simulation.now() + absl::Seconds(any(0, 100));
      if (any(0, 3) == 0) {
        const absl::Duration from = at + absl::Seconds(any(0, 60));
        const absl::Duration to = from + absl::Seconds(any(0, 60));
        ask.reads = [=](absl::Duration now) { return now < from || now >= to; };
      }
      std::optional<absl::Duration> leaves;
      if (any(0, 5) == 0) leaves = at + absl::Seconds(any(0, 60));
      simulation.At(at, [&simulation, ask, leaves] {
        const Engine::Handle handle = simulation.Start(ask)->handle;
        if (!leaves) return;
        simulation.At(*leaves, [&simulation, handle] { simulation.engine().Cancel(handle); });
      });
    }
    simulation.Run(absl::InfiniteDuration());
    for (const auto& stream : simulation.streams()) {
      ASSERT_TRUE(stream->ended.has_value());
      if (stream->status.ok()) {
        EXPECT_EQ(static_cast<int>(stream->tokens.size()), stream->ask.answer);
      }
    }
    EXPECT_EQ(simulation.streams().size(), 60u);
    const EngineLoad load = simulation.engine().load();
    EXPECT_EQ(load.reserved + load.queued + load.running + load.held, 0);
    EXPECT_EQ(load.kv_bytes_used, 0u);
  }
}

}  // namespace
}  // namespace softsplice
