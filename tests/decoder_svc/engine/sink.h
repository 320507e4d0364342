// A sink that keeps all it hears.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "decoder_svc/engine/request.h"
#include "tests/support/event.h"

namespace softsplice {

class Sink : public TokenSink {
 public:
  std::function<void(int read)> on_prefill;
  std::function<bool(const SampledToken&)> on_token;
  std::atomic<bool> has_room = true;

  void OnPrefill(int read, int) override {
    prefill.push_back(read);
    if (on_prefill) on_prefill(read);
  }
  void OnPaused() override { ++pauses; }
  bool HasRoom() override { return has_room; }
  bool OnToken(const SampledToken& token) override {
    tokens.push_back(token.chosen.token);
    sampled.push_back(token);
    return on_token ? on_token(token) : true;
  }
  void OnDone(absl::StatusOr<EngineResult> end) override {
    result = std::move(end);
    done.Notify();
  }
  const absl::StatusOr<EngineResult>& Wait() {
    done.WaitForNotification();
    return result;
  }

  std::vector<int> prefill;
  std::atomic<int> pauses = 0;
  std::vector<int32_t> tokens;
  std::vector<SampledToken> sampled;
  absl::StatusOr<EngineResult> result = absl::UnknownError("not done");
  Event done;
};

}  // namespace softsplice
