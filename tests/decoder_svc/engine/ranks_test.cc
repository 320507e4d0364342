// A model that two ranks share out gives the bits that one device gives, over NCCL and without; and
// what becomes of the engine when one of them fails.
#include "decoder_svc/engine/ranks.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/status/error.h"
#include "decoder_svc/engine/engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend_factory.h"
#include "kernels/devices.h"
#include "tests/decoder_svc/engine/own_blocks.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/kernels/emulated/emulation.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLimit = absl::Minutes(5);

std::unique_ptr<gguf::File> Open(const std::string& name) {
  return *gguf::File::Open("tests/data/" + name + ".gguf");
}

// All logits of two sequences: of prompts' rows, through the kernels for many rows and for few, and
// of single tokens, over full and sliding layers.
std::vector<float> Logits(const gguf::File& file, const std::vector<int>& devices, bool exact) {
  const BackendOptions options{.name = "cuda", .exact_weights = exact};
  std::vector<std::unique_ptr<Backend>> backends;
  if (devices.size() == 1) {
    backends.push_back(*MakeBackend(options));
  } else {
    backends = *MakeRanks(options, devices, kLimit);
  }
  const auto model = *Ranks::Load(file, std::move(backends),
                                  {.context_length = 256,
                                   .chunk = 72,
                                   .max_sequences = 2,
                                   .max_rows = 73,
                                   .max_logit_rows = 4,
                                   .kv_f32 = exact},
                                  kLimit);
  const std::vector<BlockTable> tables = OwnBlocks(model->runner().shape());
  std::vector<float> all;
  const auto run = [&](std::vector<StepPart> parts) {
    for (StepPart& part : parts) part.blocks = &tables[static_cast<size_t>(part.slot)];
    const auto rows = model->Run(parts);
    ASSERT_EQ(rows.status(), absl::OkStatus());
    for (const RowLogits& row : *rows) all.insert(all.end(), row.all.begin(), row.all.end());
  };
  std::vector<int32_t> prompt;
  for (int i = 0; i < 72; ++i) prompt.push_back(3 + i * 5);
  const auto part = [&](int slot, int first, int count) -> StepPart {
    return {.slot = slot,
            .first = first,
            .tokens = absl::MakeConstSpan(prompt).subspan(first % 72, count),
            .logit_rows = std::min(count, 3),
            .all_logits = true};
  };
  run({part(0, 0, 72)});
  std::vector<BlockCopy> copies;  // the second sequence goes on from there
  for (size_t i = 0; i < tables[0].full.size(); ++i) {
    copies.push_back({false, tables[0].full[i], tables[1].full[i]});
  }
  for (size_t i = 0; i < tables[0].sliding.size(); ++i) {
    copies.push_back({true, tables[0].sliding[i], tables[1].sliding[i]});
  }
  model->Copy(copies);
  run({part(1, 72, 9), part(0, 72, 1)});
  for (int i = 0; i < 3; ++i) run({part(0, 73 + i, 1), part(1, 81 + i, 1)});
  return all;
}

EngineOptions Options(std::vector<int> devices, const std::string& backend = "cuda") {
  EngineOptions options;
  options.backend.name = backend;
  options.devices = std::move(devices);
  options.context_length = 64;
  options.chunk = 8;
  return options;
}

class RanksTest : public ::testing::Test {
 protected:
  RanksTest() { emulation::faults.device_count = 2; }
  ~RanksTest() override { emulation::Restore(); }
};

TEST_F(RanksTest, GiveTheBitsOfOneDevice) {
  const auto file = Open("demo/demo-text");
  for (const bool exact : {false, true}) {
    const std::vector<float> one = Logits(*file, {0}, exact);
    EXPECT_FALSE(one.empty());
    EXPECT_TRUE(one == Logits(*file, {0, 1}, exact)) << exact;
    EXPECT_TRUE(one == Logits(*file, {0, 0}, exact)) << exact;
  }
}

absl::Status Load(const std::string& model, std::vector<int> devices,
                  const std::string& backend = "cuda") {
  return Engine::Load(*Open(model), Options(std::move(devices), backend), {}).status();
}

TEST_F(RanksTest, AreRefusedWhereTheyWouldGiveOthers) {
  const auto expect = [](const absl::Status& status, const std::string& message) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(status.message(), HasSubstr(message));
  };
  expect(Load("demo/demo-text", {0, 0, 0}), "tensor_parallel is 3; must be from 1 to 2");
  expect(Load("demo/demo-text", {}), "tensor_parallel is 0");
  expect(Load("models/kquant-Q8_0", {0, 0}), "4 heads and 1 KV heads can't be shared out evenly");
  expect(Load("models/ssfs-F16", {0, 0}),
         "ffn_down.weight has 160 columns; each of 2 devices needs a multiple of 64");
  expect(Load("demo/demo-text", {0, 0}, "cpu"),
         "only cuda shares a model out, not cpu (it was asked for)");
}

// All that each takes was counted, but for the angles of two ropes.
TEST_F(RanksTest, TakeWhatWasCounted) {
  const auto file = Open("demo/demo-text");
  const uint64_t alone = Engine::Measure(*file, Options({0}))->Total();
  const EngineOptions options = Options({0, 1});
  const Footprint need = *Engine::Measure(*file, options);
  EXPECT_LT(need.Total(), alone);
  const uint64_t before[] = {*FreeBytes(0), *FreeBytes(1)};
  const auto engine = *Engine::Load(*file, options, {});
  for (const int device : {0, 1}) {
    EXPECT_GE(need.Total() + 4096, before[device] - *FreeBytes(device));
    EXPECT_LE(need.Total(), before[device] - *FreeBytes(device) + (64 << 10));
  }
  EXPECT_EQ(engine->info().devices, (std::vector<int>{0, 1}));
  EXPECT_EQ(engine->info().backend, "cuda emulation, device 0 + cuda emulation, device 1");
}

// In the middle of an answer: what NCCL tells, and a device that is lost while the other waits for
// it.
TEST_F(RanksTest, EndTheEngineWhenOneFails) {
  const auto file = Open("demo/demo-text");
  const auto expect = [&](const std::function<void()>& fault, const std::string& message) {
    const auto engine = *Engine::Load(*file, Options({0, 1}), {});
    const auto sink = std::make_shared<Sink>();
    sink->on_token = [&](const SampledToken&) {
      if (sink->tokens.size() == 3) fault();  // steps are replayed from here on
      return true;
    };
    EngineRequest request;
    request.prompt.tokens = {2, 5, 9};
    request.max_tokens = 20;
    request.ignore_stop_tokens = true;
    ASSERT_TRUE(engine->Submit(*engine->Reserve(), std::move(request), sink).ok());
    const absl::Status status = sink->Wait().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(GetErrorDetail(status).reason, "RANK_FAILED");
    EXPECT_THAT(status.message(), HasSubstr(message));
    EXPECT_EQ(sink->tokens.size(), 3u);
    EXPECT_EQ(engine->health(), status);
  };
  expect([] { emulation::faults.nccl = true; }, "NCCL: asynchronous error: remote process exited");
  emulation::Restore();
  emulation::faults.device_count = 2;
  expect([] { emulation::faults.launch = 40; }, "unspecified launch failure");
}

}  // namespace
}  // namespace softsplice
