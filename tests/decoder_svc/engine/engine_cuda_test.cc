// The engine on a device: what it takes of it, how it replays steps, and what becomes of it when
// the device fails.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/engine/runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend_factory.h"
#include "kernels/devices.h"
#include "tests/decoder_svc/engine/own_blocks.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/kernels/emulated/emulation.h"

namespace softsplice {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// tiny's feed-forwards are alike; tiny_e2b's last layers have wider ones.
constexpr const char* kModels[] = {"tiny", "tiny_e2b"};
constexpr uint64_t kSpare = uint64_t{256} << 20;  // as the choice of backend has it

class EngineOnDeviceTest : public ::testing::Test {
 protected:
  EngineOnDeviceTest() { Open("tiny"); }
  ~EngineOnDeviceTest() override {
    engine_ = nullptr;
    emulation::Restore();
  }

  static EngineOptions Options(const std::string& backend) {
    return {.backend = {.name = backend, .threads = 1}, .context_length = 64, .chunk = 8};
  }
  void Open(const std::string& model) {
    engine_ = nullptr;
    file_ = *gguf::File::Open("tests/data/models/" + model + "-F16.gguf");
  }
  absl::Status Load(const EngineOptions& options) {
    auto engine = Engine::Load(*file_, options, {});
    if (engine.ok()) engine_ = *std::move(engine);
    return engine.status();
  }
  std::shared_ptr<Sink> Submit(int max_tokens) {
    EngineRequest request;
    request.prompt.tokens = {2, 5, 9, 4, 7};
    request.sampling.temperature = 0;
    request.max_tokens = max_tokens;
    auto sink = std::make_shared<Sink>();
    EXPECT_TRUE(engine_->Submit(*engine_->Reserve(), std::move(request), sink).ok());
    return sink;
  }

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Engine> engine_;
};

// All that it takes was counted, but for the angles of two ropes.
TEST_F(EngineOnDeviceTest, TakesWhatWasCounted) {
  const EngineOptions options = Options("cuda");
  for (const char* model : kModels) {
    SCOPED_TRACE(model);
    Open(model);
    const Footprint need = *Engine::Measure(*file_, options);
    const uint64_t before = *FreeBytes(0);
    ASSERT_EQ(Load(options), absl::OkStatus());
    const uint64_t taken = before - *FreeBytes(0);
    EXPECT_GE(need.Total() + 4096, taken);
    EXPECT_LE(need.Total(), taken);
    EXPECT_EQ(engine_->info().footprint.Total(), need.Total());
    EXPECT_EQ(need.caches, engine_->load().kv_bytes_total);
    EXPECT_EQ(engine_->info().devices, std::vector<int>{0});
    EXPECT_EQ(engine_->info().backend, "cuda emulation, device 0");
  }
}

// Prompts in steps of all sizes, answers in company, and rows that are sampled with all logits.
TEST_F(EngineOnDeviceTest, TakesNoMemoryOnceItServes) {
  for (const char* model : kModels) {
    SCOPED_TRACE(model);
    Open(model);
    emulation::faults.allocation = 0;
    ASSERT_EQ(Load(Options("cuda")), absl::OkStatus());
    emulation::faults.allocation = 1;  // which there is none of
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < 4; ++i) {
      EngineRequest request;
      request.prompt.tokens.assign(static_cast<size_t>(1 + 9 * i), 5);
      request.sampling.repetition_penalty = i % 2 == 0 ? 1.0f : 1.5f;
      request.max_tokens = 6;
      request.ignore_stop_tokens = true;
      sinks.push_back(std::make_shared<Sink>());
      EXPECT_TRUE(engine_->Submit(*engine_->Reserve(), std::move(request), sinks.back()).ok());
    }
    for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok()) << sink->Wait().status();
    EXPECT_EQ(emulation::faults.allocation, 1);
  }
}

TEST_F(EngineOnDeviceTest, AnswersAlikeWithItsLargeTableOnTheHost) {
  EngineOptions options = Options("cuda");
  std::vector<std::vector<int32_t>> answers;
  std::vector<uint64_t> taken;
  for (const bool on_host : {false, true}) {
    options.backend.large_tables_on_host = on_host;
    const uint64_t before = *FreeBytes(0);
    ASSERT_EQ(Load(options), absl::OkStatus());
    taken.push_back(before - *FreeBytes(0));
    EXPECT_EQ(engine_->info().footprint.Total(), Engine::Measure(*file_, options)->Total());
    const auto sink = Submit(8);
    EXPECT_TRUE(sink->Wait().ok());
    answers.push_back(sink->tokens);
    engine_ = nullptr;
  }
  EXPECT_EQ(taken[0] - taken[1], file_->FindOptional("per_layer_token_embd.weight")->bytes);
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(EngineOnDeviceTest, SaysBeforeItTakesAnyThatMemoryIsShort) {
  const uint64_t need = Engine::Measure(*file_, Options("cuda"))->Total();
  emulation::faults.memory = need + kSpare - 1;
  emulation::faults.allocation = 1;  // which there is none of
  const absl::Status status = Load(Options("cuda"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("the model needs "), HasSubstr("keys and values "),
                                      HasSubstr("lower --kv-memory, --context (64), "
                                                "--max-sequences (8) or --chunk (8)"),
                                      HasSubstr("--ple-memory host")));
  EXPECT_EQ(emulation::faults.allocation, 1);
  emulation::Restore();
  emulation::faults.memory = need + kSpare;
  EXPECT_EQ(Load(Options("cuda")), absl::OkStatus());
}

TEST_F(EngineOnDeviceTest, AutoTakesTheProcessorWhereMemoryIsShortOrThereIsNoDriver) {
  emulation::faults.memory = kSpare;
  ASSERT_EQ(Load(Options("auto")), absl::OkStatus());
  EXPECT_THAT(engine_->info().backend, ::testing::StartsWith("cpu "));
  EXPECT_THAT(engine_->info().backend_why, HasSubstr("the model needs "));
  EXPECT_TRUE(engine_->info().devices.empty());
  const std::vector<int32_t> answer = [&] {
    const auto sink = Submit(3);
    EXPECT_TRUE(sink->Wait().ok());
    return sink->tokens;
  }();
  emulation::Restore();
  emulation::faults.devices = cudaErrorInsufficientDriver;
  ASSERT_EQ(Load(Options("auto")), absl::OkStatus());
  EXPECT_THAT(engine_->info().backend_why, HasSubstr("there is no driver"));
  EXPECT_EQ(Load(Options("cuda")).code(), absl::StatusCode::kInvalidArgument);
  emulation::Restore();
  ASSERT_EQ(Load(Options("auto")), absl::OkStatus());
  EXPECT_THAT(engine_->info().backend, ::testing::StartsWith("cuda "));
  const auto sink = Submit(3);
  EXPECT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->tokens, answer);
}

TEST_F(EngineOnDeviceTest, RunsOnTheDeviceThatIsNamed) {
  emulation::faults.device_count = 2;
  EngineOptions options = Options("cuda");
  options.devices = {1};
  ASSERT_EQ(Load(options), absl::OkStatus());
  EXPECT_EQ(engine_->info().backend, "cuda emulation, device 1");
  EXPECT_TRUE(Submit(2)->Wait().ok());
  EXPECT_EQ(*FreeBytes(0), emulation::faults.memory);
  options.devices = {2};
  EXPECT_THAT(Load(options).message(), HasSubstr("no device 2; there are 0 (emulation), 1"));
}

// Whatever it was that it could not get: told, and nothing is left behind.
TEST_F(EngineOnDeviceTest, FailsToLoadCleanly) {
  const uint64_t before = *FreeBytes(0);
  for (int allocation = 1; allocation < 400; allocation += 37) {
    emulation::faults.allocation = allocation;
    const absl::Status status = Load(Options("cuda"));
    if (status.ok()) break;
    EXPECT_TRUE(status.code() == absl::StatusCode::kResourceExhausted ||
                status.code() == absl::StatusCode::kInternal)
        << status;
    EXPECT_EQ(*FreeBytes(0), before) << allocation;
  }
}

TEST_F(EngineOnDeviceTest, EndsWhenTheDeviceIsLostInTheMiddleOfAnAnswer) {
  EngineOptions options = Options("cuda");
  options.max_sequences = 1;
  ASSERT_EQ(Load(options), absl::OkStatus());
  const auto first = std::make_shared<Sink>();
  first->on_token = [](const SampledToken&) {
    emulation::faults.launch = 40;  // in the step after this one
    return true;
  };
  EngineRequest request;
  request.prompt.tokens = {2, 5, 9};
  ASSERT_TRUE(engine_->Submit(*engine_->Reserve(), std::move(request), first).ok());
  const auto second = Submit(2);
  const absl::Status status = first->Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetErrorDetail(status).reason, reason::kDeviceError);
  EXPECT_THAT(status.message(), HasSubstr("unspecified launch failure"));
  EXPECT_EQ(first->tokens.size(), 1u);
  EXPECT_EQ(GetErrorDetail(second->Wait().status()).reason, reason::kDraining);
  EXPECT_EQ(GetErrorDetail(engine_->health()).reason, reason::kDeviceError);
  const absl::Status refused = engine_->Reserve().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(refused.message(), HasSubstr("unspecified launch failure"));
}

// Decode steps are replayed from the third on; with a wait after each op they never are.
TEST_F(EngineOnDeviceTest, ReplayedStepsGiveTheBitsOfPlainOnes) {
  const auto logits = [&](bool wait_after_ops) {
    const auto backend = *MakeBackend({.name = "cuda", .wait_after_ops = wait_after_ops});
    const auto runner = *Runner::Make(*file_, *backend,
                                      {.context_length = 512,
                                       .chunk = 8,
                                       .max_sequences = 2,
                                       .max_rows = 9,
                                       .max_logit_rows = 2});
    const std::vector<int32_t> prompt = {2, 5, 9, 4, 7, 11, 30, 6};
    const int a = 0, b = 1;
    const std::vector<BlockTable> tables = OwnBlocks(runner->shape());
    std::vector<float> all;
    const auto run = [&](std::vector<StepPart> parts) {
      for (StepPart& part : parts) part.blocks = &tables[part.slot];
      const auto rows = *runner->Run(parts);
      for (const RowLogits& row : rows) all.insert(all.end(), row.all.begin(), row.all.end());
    };
    const auto next = [&](int slot, int place) -> StepPart {
      return {.slot = slot,
              .first = place,
              .tokens = absl::MakeConstSpan(prompt).subspan(place % 8, 1),
              .logit_rows = 1,
              .all_logits = true};
    };
    run({{.slot = a, .tokens = prompt}});
    run({{.slot = b, .tokens = absl::MakeConstSpan(prompt).subspan(1, 3)}});
    for (int i = 0; i < 5; ++i) {
      run({next(a, 8 + 2 * i), next(b, 3 + i)});
      run({next(a, 9 + 2 * i)});
    }
    return all;
  };
  const std::vector<float> plain = logits(true), replayed = logits(false);
  EXPECT_FALSE(plain.empty());
  EXPECT_TRUE(plain == replayed);
}

}  // namespace
}  // namespace softsplice
