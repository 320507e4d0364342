// A day of all that clients do, in virtual time: the books are right after every step, and what the
// cache serves at its end is what it served at its beginning.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/decoder_svc/engine/simulation.h"
#include "tests/decoder_svc/kv/accounts.h"

namespace softsplice {
namespace {

using Stream = Simulation::Stream;

class Clients {
 public:
  Clients(Simulation& simulation, absl::Duration until) : simulation_(simulation), until_(until) {}

  // One who talks, thinks, asks again, or from an earlier place, and at times begins anew.
  void Talk(int client, std::vector<int32_t> history) {
    if (history.size() > 3000 || Any(0, 15) == 0) history = SystemPrompt();
    if (Any(0, 9) == 0) history.resize(Any(1, static_cast<int>(history.size())));
    Say(history, Any(1, 200));
    Simulation::Ask ask = Of(client, std::move(history), Any(1, 150));
    ask.then = [this, client](const Stream& stream) {
      if (simulation_.now() > until_) return;
      std::vector<int32_t> said = stream.ask.begin;
      said.insert(said.end(), stream.written.begin(), stream.written.end());
      Later(100, [this, client, said] { Talk(client, said); });
    };
    simulation_.Start(std::move(ask));
  }

  // Those who come once, with anything.
  void ComeAndGo() {
    if (simulation_.now() > until_) return;
    std::vector<int32_t> prompt = Any(0, 1) == 0 ? SystemPrompt() : std::vector<int32_t>();
    Say(prompt, Any(0, 9) == 0 ? Any(1, 3000) : Any(1, 300));
    Simulation::Ask ask = Of(100 + Any(1, 20), std::move(prompt), Any(0, 9) == 0 ? 2500 : 50);
    ask.shared = Any(0, 4) > 0;
    if (Any(0, 3) == 0) ask.priority = Priority::kBatch;
    if (Any(0, 9) == 0) ask.time_limit = absl::Seconds(Any(0, 60));
    if (Any(0, 9) == 0) {
      const absl::Duration from = simulation_.now() + absl::Seconds(Any(0, 30));
      const absl::Duration to = from + absl::Seconds(Any(0, 60));
      ask.reads = [=](absl::Duration now) { return now < from || now >= to; };
    }
    if (ask.shared && Any(0, 4) == 0) {
      Leave(simulation_.ReadAhead(ask), 20);
    }
    const auto stream = simulation_.Start(std::move(ask));
    if (Any(0, 5) == 0) Leave(stream, 60);
    Later(60, [this] { ComeAndGo(); });
  }

 private:
  int Any(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  void Say(std::vector<int32_t>& prompt, int tokens) {
    for (int i = 0; i < tokens; ++i) prompt.push_back(Any(1, 50));
  }
  // One of a few that many share.
  std::vector<int32_t> SystemPrompt() { return std::vector<int32_t>(600, Any(1, 4)); }
  static Simulation::Ask Of(int client, std::vector<int32_t> prompt, int answer) {
    const int length = static_cast<int>(prompt.size());
    return {.client = absl::StrCat(client),
            .prompt = length,
            .answer = answer,
            .shared = true,
            .begin = std::move(prompt)};
  }
  void Later(int most_seconds, std::function<void()> what) {
    simulation_.At(simulation_.now() + absl::Seconds(Any(1, most_seconds)), std::move(what));
  }
  void Leave(const std::shared_ptr<Stream>& stream, int most_seconds) {
    Later(most_seconds, [this, stream] { simulation_.engine().Cancel(stream->handle); });
  }

  Simulation& simulation_;
  const absl::Duration until_;
  std::mt19937 random_{1};
};

// Of what came in a time, the share of prompts that was cached.
double CachedShare(const Simulation& simulation, absl::Duration from, absl::Duration to) {
  double cached = 0, all = 0;
  for (const auto& stream : simulation.streams()) {
    if (!stream->admitted || stream->asked < from || stream->asked >= to) continue;
    cached += stream->cached;
    all += stream->ask.prompt;
  }
  return cached / all;
}

TEST(ChurnSimulationTest, ADayLeavesNothingBehind) {
  EngineOptions options{.context_length = 4096, .max_wait = absl::Minutes(5)};
  options.kv_memory = Simulation::LeastMemory(options) * 3 / 2;
  Simulation simulation(options, {.weights = absl::Milliseconds(200)});
  int64_t rounds = 0;
  simulation.AfterRounds([&] {
    if (HasFailure()) return;  // all later rounds would fail, too
    ++rounds;
    const EngineImpl& engine = simulation.engine();
    ASSERT_TRUE(AllBlocksAddUp(engine.kv(), engine.Held())) << "round " << rounds;
  });
  const absl::Duration begin = simulation.now(), end = begin + absl::Hours(24);
  Clients clients(simulation, end);
  for (int client = 0; client < 8; ++client) clients.Talk(client, {});
  clients.ComeAndGo();
  simulation.Run(absl::Hours(30));

  EXPECT_GT(rounds, 100'000);
  std::map<absl::StatusCode, int> ends;
  size_t pauses = 0;
  for (const auto& stream : simulation.streams()) {
    ASSERT_TRUE(stream->ended.has_value());
    ++ends[stream->status.code()];
    pauses += stream->pauses.size();
    if (stream->status.ok()) {
      const int room = options.context_length - stream->ask.prompt + 1;
      ASSERT_EQ(static_cast<int>(stream->tokens.size()), std::min(stream->ask.answer, room));
    }
  }
  EXPECT_GT(ends[absl::StatusCode::kOk], 1000);
  EXPECT_GT(ends[absl::StatusCode::kCancelled], 100);
  EXPECT_GT(ends[absl::StatusCode::kDeadlineExceeded], 10);
  EXPECT_GT(ends[absl::StatusCode::kResourceExhausted], 10) << "refused, or too slow";
  EXPECT_EQ(ends.size(), 4u) << "and there is no other end";
  EXPECT_GT(pauses, 10u);
  const double first = CachedShare(simulation, begin, begin + absl::Hours(6));
  const double last = CachedShare(simulation, end - absl::Hours(6), end);
  EXPECT_GT(first, 0.1);
  EXPECT_GT(last, 0.9 * first);
  EXPECT_TRUE(simulation.engine().Held().empty());
}

}  // namespace
}  // namespace softsplice
