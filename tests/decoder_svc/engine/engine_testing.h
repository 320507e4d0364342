// An engine with a tiny model, for tests of what it answers and of what becomes of requests.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "decoder_svc/engine/engine.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/decoder_svc/goldens.h"
#include "tests/support/event.h"

namespace softsplice {

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

}  // namespace softsplice
