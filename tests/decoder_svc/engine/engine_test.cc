#include "decoder_svc/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/decoder_svc/engine/engine_testing.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

constexpr int kVocabulary = 800;

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
    // The same rows as two runs.
    request = Greedy(tokens, 24);
    std::fill_n(request.prompt.tokens.begin() + first, rows, -1);
    const std::vector<float> values = image.Floats("image.soft");
    const auto part = values.begin() + 5 * engine_->info().dim;
    request.prompt.soft = {
        {first, 5, std::make_shared<const std::vector<float>>(values.begin(), part)},
        {first + 5, rows - 5, std::make_shared<const std::vector<float>>(part, values.end())}};
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

TEST_F(EngineTest, RefusesInvalidRequests) {
  Start(Options());
  EXPECT_EQ(Refusal(Greedy({2, kVocabulary}, 2)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Submit(Greedy({2, 5, 9, 7}, 2))->Wait().ok());
}

TEST(EngineLoadTest, RefusesBadOptionsAndFiles) {
  const auto file = *gguf::File::Open("tests/data/models/tiny-F16.gguf");
  const auto load = [](const gguf::File& from, const EngineOptions& options) {
    return Engine::Load(from, options, {}).status().code();
  };
  EXPECT_EQ(load(*file, {.context_length = 1 << 20}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.chunk = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.max_queue = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.max_sequences = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(load(*file, {.backend = {.name = "abacus"}}), absl::StatusCode::kInvalidArgument);
  const auto mmproj = *gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  EXPECT_EQ(load(*mmproj, {}), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace softsplice
