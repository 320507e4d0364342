#include "decoder_svc/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/decoder_svc/goldens.h"
#include "tests/support/event.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

constexpr int kVocabulary = 800;

class EngineTest : public testing::Test {
 protected:
  // Ids 1 and 106 of the real model are no stop tokens here: none, unless a test names some.
  void Start(const EngineOptions& options, SpecialTokens special = {}) {
    file_ = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
    auto engine = Engine::Load(*file_, options, std::move(special));
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  static EngineOptions Options() {
    return {.backend = {.threads = 1},
            .context_length = 512,
            .chunk = 64,
            .kv_f32 = true,
            .max_sequences = 1};
  }
  static EngineRequest Greedy(std::vector<int32_t> prompt, int max_tokens) {
    EngineRequest request;
    request.prompt.tokens = std::move(prompt);
    request.sampling.temperature = 0;
    request.max_tokens = max_tokens;
    return request;
  }
  std::shared_ptr<Sink> Submit(EngineRequest request, std::shared_ptr<Sink> sink = nullptr,
                               Priority priority = Priority::kNormal) {
    if (sink == nullptr) sink = std::make_shared<Sink>();
    const auto handle = engine_->Submit(*engine_->Reserve(priority), std::move(request), sink);
    EXPECT_TRUE(handle.ok()) << handle.status();
    if (handle.ok()) handle_ = *handle;
    return sink;
  }
  // Holds the engine inside the request's first token until `gate` is notified.
  std::shared_ptr<Sink> Block(Event& gate) {
    auto sink = std::make_shared<Sink>();
    auto entered = std::make_shared<Event>();
    sink->on_token = [&gate, entered](const SampledToken&) {
      if (!entered->HasBeenNotified()) entered->Notify();
      gate.WaitForNotification();
      return false;
    };
    Submit(Greedy({2, 5}, 0), sink);
    entered->WaitForNotification();
    return sink;
  }
  void ExpectIdle() {
    const EngineLoad load = engine_->load();
    EXPECT_EQ(load.reserved, 0);
    EXPECT_EQ(load.queued, 0);
    EXPECT_EQ(load.running, 0);
    EXPECT_EQ(load.kv_bytes_used, 0u);
  }
  absl::Status Refusal(EngineRequest request) {
    auto place = engine_->Reserve();
    if (!place.ok()) return place.status();
    return engine_->Submit(*std::move(place), std::move(request), std::make_shared<Sink>())
        .status();
  }

  Goldens text_{"tests/data/model/tiny-text.bin"};
  std::unique_ptr<gguf::File> file_;
  std::atomic<bool> later_ = false;  // for a clock that leaps
  std::unique_ptr<Engine> engine_;
  Engine::Handle handle_ = 0;
};

TEST_F(EngineTest, AnswersAsTransformers) {
  for (bool kv_f32 : {false, true}) {
    EngineOptions options = Options();
    options.kv_f32 = kv_f32;
    Start(options);
    for (const std::string prompt : {"short", "medium", "long"}) {
      const auto sink = Submit(Greedy(text_.Ints(prompt + ".tokens"), 24));
      ASSERT_TRUE(sink->Wait().ok()) << sink->Wait().status();
      EXPECT_EQ(sink->tokens, text_.Ints(prompt + ".greedy")) << prompt;
      EXPECT_EQ(sink->result->finish, EngineFinish::kMaxTokens);
      EXPECT_EQ(sink->result->completion_tokens, 24);
    }
    ExpectIdle();
  }
}

TEST_F(EngineTest, ReportsPrefillChunkByChunk) {
  Start(Options());
  const auto sink = Submit(Greedy(text_.Ints("long.tokens"), 1));
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->prefill, (std::vector<int>{64, 128, 180}));
  const EngineTimings& timings = sink->result->timings;
  EXPECT_GT(timings.prefill, absl::ZeroDuration());
  EXPECT_GE(timings.time_to_first_token, timings.queued + timings.prefill);
  EXPECT_GE(timings.total, timings.time_to_first_token);
}

TEST_F(EngineTest, SplicesSoftTokens) {
  const Goldens image("tests/data/model/tiny-image.bin");
  std::vector<int32_t> tokens = image.Ints("image.tokens");
  const int32_t placeholder = tokens[tokens.size() / 2];
  const int first =
      static_cast<int>(std::find(tokens.begin(), tokens.end(), placeholder) - tokens.begin());
  const int rows = static_cast<int>(std::count(tokens.begin(), tokens.end(), placeholder));
  for (int chunk : {7, 512}) {
    EngineOptions options = Options();
    options.chunk = chunk;
    Start(options);
    EngineRequest request = Greedy(tokens, 24);
    std::fill_n(request.prompt.tokens.begin() + first, rows, -1);  // ignored there
    request.prompt.soft = {
        {first, rows, std::make_shared<const std::vector<float>>(image.Floats("image.soft"))}};
    const auto sink = Submit(std::move(request));
    ASSERT_TRUE(sink->Wait().ok()) << sink->Wait().status();
    EXPECT_EQ(sink->tokens, image.Ints("image.greedy")) << chunk;
    // The same rows as two runs that share their values.
    request = Greedy(tokens, 24);
    std::fill_n(request.prompt.tokens.begin() + first, rows, -1);
    const auto values = std::make_shared<const std::vector<float>>(image.Floats("image.soft"));
    request.prompt.soft = {{first, 5, values}, {first + 5, rows - 5, values, 5}};
    const auto split = Submit(std::move(request));
    ASSERT_TRUE(split->Wait().ok()) << split->Wait().status();
    EXPECT_EQ(split->tokens, image.Ints("image.greedy")) << chunk;
  }
}

TEST_F(EngineTest, PlaceholdersReadAsPad) {
  std::vector<int32_t> prompt = text_.Ints("medium.tokens");
  prompt[10] = 0;
  Start(Options(), {.placeholders = {77}});
  const auto pad = Submit(Greedy(prompt, 12));
  prompt[10] = 77;
  const auto placeholder = Submit(Greedy(prompt, 12));
  prompt[10] = 78;
  const auto other = Submit(Greedy(prompt, 12));
  other->Wait();
  EXPECT_EQ(pad->tokens, placeholder->tokens);
  EXPECT_NE(pad->tokens, other->tokens);
}

TEST_F(EngineTest, SeveralAtOnceAnswerAsOneByOne) {
  EngineOptions options = Options();
  options.max_sequences = 3;
  options.chunk = 16;
  Start(options);
  std::vector<std::pair<std::string, std::shared_ptr<Sink>>> sinks;
  for (const std::string prompt : {"long", "short", "medium", "long", "medium"}) {
    sinks.emplace_back(prompt, Submit(Greedy(text_.Ints(prompt + ".tokens"), 24)));
  }
  for (const auto& [prompt, sink] : sinks) {
    ASSERT_TRUE(sink->Wait().ok()) << sink->Wait().status();
    EXPECT_EQ(sink->tokens, text_.Ints(prompt + ".greedy")) << prompt;
  }
  ExpectIdle();
}

TEST_F(EngineTest, SeedsSurviveCompanyAndChunks) {
  const auto sampled = [&](const std::string& prompt, uint64_t seed) {
    EngineRequest request = Greedy(text_.Ints(prompt + ".tokens"), 24);
    request.client = prompt;
    request.sampling = {.temperature = 1.5f, .seed = seed};
    return Submit(std::move(request));
  };
  Start(Options());
  const auto alone = sampled("long", 7);
  alone->Wait();
  EngineOptions options = Options();
  options.max_sequences = 4;
  options.chunk = 16;
  options.stall_target = absl::ZeroDuration();
  Start(options);
  std::vector<std::shared_ptr<Sink>> others = {sampled("short", 1), sampled("medium", 2)};
  const auto together = sampled("long", 7);
  others.push_back(sampled("long", 8));
  ASSERT_TRUE(together->Wait().ok()) << together->Wait().status();
  EXPECT_EQ(together->tokens, alone->tokens);
  for (const auto& sink : others) EXPECT_TRUE(sink->Wait().ok());
  EXPECT_NE(others.back()->tokens, alone->tokens);
  ExpectIdle();
}

// One ends while it writes, one while it reads, one while it waits; whoever is beside them goes on
// as if nothing had happened.
TEST_F(EngineTest, EndsSomeOfSeveral) {
  for (const bool by_deadline : {false, true}) {
    EngineOptions options = Options();
    options.max_sequences = 3;
    options.chunk = 8;
    Start(options);
    const auto stays = std::make_shared<Sink>(), writes = std::make_shared<Sink>(),
               reads = std::make_shared<Sink>(), waits = std::make_shared<Sink>();
    Event all_here;
    std::vector<Engine::Handle> handles;
    stays->on_prefill = [&](int) { all_here.WaitForNotification(); };
    reads->on_prefill = [&](int) {
      if (writes->tokens.empty() || handles.empty()) return;
      for (const Engine::Handle handle : std::exchange(handles, {})) engine_->Cancel(handle);
    };
    Submit(Greedy(text_.Ints("medium.tokens"), 24), stays);
    for (const auto& [prompt, sink] :
         {std::pair("short", writes), std::pair("long", reads), std::pair("short", waits)}) {
      EngineRequest request = Greedy(text_.Ints(absl::StrCat(prompt, ".tokens")), 0);
      if (by_deadline) request.time_limit = absl::Milliseconds(20);
      Submit(std::move(request), sink);
      if (!by_deadline) handles.push_back(handle_);
    }
    all_here.Notify();
    const auto code =
        by_deadline ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kCancelled;
    for (const auto& sink : {writes, reads, waits}) EXPECT_EQ(sink->Wait().status().code(), code);
    if (!by_deadline) {
      EXPECT_FALSE(writes->tokens.empty());
      EXPECT_FALSE(reads->prefill.empty());
      EXPECT_TRUE(reads->tokens.empty());
      EXPECT_TRUE(waits->prefill.empty());
    }
    ASSERT_TRUE(stays->Wait().ok()) << stays->Wait().status();
    EXPECT_EQ(stays->tokens, text_.Ints("medium.greedy"));
    ExpectIdle();
  }
}

TEST_F(EngineTest, StopsAtAStopToken) {
  const std::vector<int32_t>& greedy = text_.Ints("medium.greedy");
  const int32_t stop = greedy[5];
  const auto first = std::find(greedy.begin(), greedy.end(), stop);
  Start(Options(), {.stop = {stop}});
  const auto sink = Submit(Greedy(text_.Ints("medium.tokens"), 24));
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->result->finish, EngineFinish::kStopToken);
  EXPECT_EQ(sink->result->stop_token, stop);
  EXPECT_EQ(sink->tokens, std::vector<int32_t>(greedy.begin(), first));
  EXPECT_EQ(sink->result->completion_tokens, first - greedy.begin());

  EngineRequest on = Greedy(text_.Ints("medium.tokens"), 24);
  on.ignore_stop_tokens = true;
  EXPECT_EQ(Submit(std::move(on))->Wait()->completion_tokens, 24);
}

TEST_F(EngineTest, StopsWhenTheSinkSaysSo) {
  Start(Options());
  auto sink = std::make_shared<Sink>();
  sink->on_token = [&](const SampledToken&) { return sink->tokens.size() < 3; };
  Submit(Greedy({2, 5, 9}, 0), sink);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->result->finish, EngineFinish::kSink);
  EXPECT_EQ(sink->result->completion_tokens, 3);
  sink->on_token = nullptr;
  ExpectIdle();
}

TEST_F(EngineTest, FillsTheContextToTheLastPosition) {
  EngineOptions options = Options();
  options.context_length = 40;
  Start(options);
  std::vector<int32_t> prompt = text_.Ints("long.tokens");
  prompt.resize(30);
  auto sink = Submit(Greedy(prompt, 0));
  ASSERT_TRUE(sink->Wait().ok()) << sink->Wait().status();
  EXPECT_EQ(sink->result->finish, EngineFinish::kContextFull);
  // Ten positions more are read; what the last of them predicts is the eleventh token.
  EXPECT_EQ(sink->result->completion_tokens, 11);

  prompt = text_.Ints("long.tokens");
  prompt.resize(40);
  sink = Submit(Greedy(prompt, 0));
  EXPECT_EQ(sink->Wait()->completion_tokens, 1);
  prompt.push_back(5);
  const absl::Status status = Refusal(Greedy(prompt, 0));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("41 tokens; the context holds 40"));
}

TEST_F(EngineTest, SeedsDecide) {
  Start(Options());
  const auto sample = [&](uint64_t seed) {
    EngineRequest request = Greedy(text_.Ints("short.tokens"), 16);
    request.sampling = {.temperature = 2, .top_k = 0, .top_p = 1, .seed = seed};
    const auto sink = Submit(std::move(request));
    sink->Wait();
    return sink->tokens;
  };
  EXPECT_EQ(sample(1), sample(1));
  EXPECT_NE(sample(1), sample(2));
}

TEST_F(EngineTest, BannedTokensAreNeverSampled) {
  std::vector<int32_t> banned;
  for (int32_t id = 0; id < kVocabulary; id += 2) banned.push_back(id);
  Start(Options(), {.banned = banned});
  EngineRequest request = Greedy(text_.Ints("short.tokens"), 200);
  request.sampling = {.temperature = 5, .top_k = 0, .top_p = 1, .seed = 1};
  for (int32_t id = 1; id < kVocabulary; id += 4) {
    request.sampling.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
  }
  const auto sink = Submit(std::move(request));
  ASSERT_TRUE(sink->Wait().ok());
  std::set<int> rests;
  for (int32_t token : sink->tokens) rests.insert(token % 4);
  EXPECT_EQ(rests, std::set<int>{3});
}

TEST_F(EngineTest, LogprobsMatchTheGoldenLogits) {
  Start(Options());
  EngineRequest request = Greedy(text_.Ints("short.tokens"), 1);
  request.alternatives = 20;
  const auto sink = Submit(std::move(request));
  ASSERT_TRUE(sink->Wait().ok());
  const std::vector<float>& all = text_.Floats("short.logits");
  const std::vector<float> logits(all.end() - kVocabulary, all.end());
  double sum = 0;
  for (float x : logits) sum += std::exp(double{x});
  const SampledToken& token = sink->sampled[0];
  ASSERT_EQ(token.alternatives.size(), 20u);
  EXPECT_EQ(token.alternatives[0].token, token.chosen.token);
  for (const TokenLogprob& entry : token.alternatives) {
    EXPECT_NEAR(entry.logprob, logits[entry.token] - std::log(sum), 2e-3);
  }
}

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
  auto place = engine_->Reserve();
  ASSERT_TRUE(place.ok());
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

TEST_F(EngineTest, RefusesInvalidRequests) {
  Start(Options());
  EXPECT_EQ(Refusal(Greedy({2, kVocabulary}, 2)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Submit(Greedy({2, 5, 9, 7}, 2))->Wait().ok());
}

TEST(EngineLoadTest, RefusesBadOptionsAndFiles) {
  const auto file = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  const auto load = [](const gguf::File& from, const EngineOptions& options, int32_t pad) {
    return Engine::Load(from, options, {.pad = pad}).status().code();
  };
  EXPECT_EQ(load(*file, {.context_length = 1 << 20}, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.chunk = 0}, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.max_queue = 0}, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.max_sequences = 0}, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.backend = {.name = "abacus"}}, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {}, kVocabulary), absl::StatusCode::kFailedPrecondition);
  const auto mmproj = *gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  EXPECT_EQ(load(*mmproj, {}, 0), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace softsplice
