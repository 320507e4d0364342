// An engine that says what the test tells it to.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/time/clock.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "decoder_svc/engine/engine.h"
#include "tests/support/event.h"

namespace softsplice {

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(const ModelInfo& info) : info_(info) {}
  ~FakeEngine() override {
    for (std::thread& thread : threads_) thread.join();
  }

  // Tokens of every answer; then the stop token, or CANCELLED once `endless` and cancelled.
  std::vector<int32_t> script;
  bool endless = false;
  int cached = 0;  // of each prompt
  CacheCounts cache;
  absl::Duration max_hold = absl::InfiniteDuration();
  // Of which only the name comes; until then others have filled the queue.
  std::atomic<bool> forgets_rows = false;
  absl::Status room_error;
  absl::Status reserve_error;
  absl::Status submit_error;
  absl::Status result_error;
  absl::Duration give_back_takes;  // of a place
  Event* pause = nullptr;          // before the second token, until it is notified
  std::atomic<int> holds = 0;      // how often it waited for room
  EngineFinish finish = EngineFinish::kStopToken;
  int32_t stop_token = 1;

  EngineRequest last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

  // What was to be read ahead, and who hears of it, which is up to the test.
  struct Ahead {
    Handle handle = 0;
    EngineRequest beginning;
    std::shared_ptr<TokenSink> sink;
  };
  std::vector<Ahead> ahead() const {
    const std::lock_guard lock(mutex_);
    return ahead_;
  }
  bool IsCancelled(Handle handle) const {
    const std::lock_guard lock(mutex_);
    return cancelled_.at(handle);
  }

  Priority last_priority() const {
    const std::lock_guard lock(mutex_);
    return last_priority_;
  }

  absl::Status Room(Priority /*priority*/, absl::Duration /*patience*/) const override {
    return room_error;
  }
  absl::StatusOr<Place> Reserve(Priority priority, absl::Duration /*patience*/) override {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(reserve_error);
    ++load_.reserved;
    return MakePlace(priority);
  }
  absl::StatusOr<Place> ReserveAgain(Priority priority) override {
    const std::lock_guard lock(mutex_);
    ++load_.reserved;
    return MakePlace(priority);
  }
  absl::StatusOr<Handle> Submit(Place place, EngineRequest request,
                                std::shared_ptr<TokenSink> sink) override {
    if (!submit_error.ok()) return submit_error;
    const std::lock_guard lock(mutex_);
    last_ = request;
    last_priority_ = place.priority();
    const Handle handle = ++handles_;
    cancelled_[handle] = false;
    ++load_.running;
    const bool rowless = forgets_rows && absl::c_any_of(request.prompt.soft, [](const auto& run) {
                           return run.values == nullptr;
                         });
    if (rowless) reserve_error = absl::ResourceExhaustedError("the queue is full");
    threads_.emplace_back(
        [this, handle, sink = std::move(sink), n = request.alternatives, rowless] {
          absl::StatusOr<EngineResult> result = absl::AbortedError("rows are missing");
          if (!rowless) result = Run(handle, *sink, n);
          {
            const std::lock_guard done(mutex_);
            --load_.running;
          }
          sink->OnDone(std::move(result));
        });
    return handle;
  }
  absl::StatusOr<Handle> ReadAhead(Priority /*priority*/, EngineRequest beginning,
                                   std::shared_ptr<TokenSink> sink) override {
    const std::lock_guard lock(mutex_);
    const Handle handle = ++handles_;
    ahead_.push_back({handle, std::move(beginning), std::move(sink)});
    cancelled_[handle] = false;
    return handle;
  }
  void Cancel(Handle handle) override {
    const std::lock_guard lock(mutex_);
    cancelled_[handle] = true;
  }
  const ModelInfo& info() const override { return info_; }
  EngineLoad load() const override {
    const std::lock_guard lock(mutex_);
    EngineLoad load = load_;
    load.cache = cache;
    return load;
  }
  int Position(Handle /*handle*/) const override { return 0; }
  absl::Duration last_step() const override { return SteadyNow(); }
  absl::Status health() const override { return absl::OkStatus(); }
  void Shutdown() override {}

 private:
  void GiveBack(Priority /*priority*/) override {
    absl::SleepFor(give_back_takes);
    const std::lock_guard lock(mutex_);
    --load_.reserved;
  }
  absl::StatusOr<EngineResult> Run(Handle handle, TokenSink& sink, int alternatives) {
    EngineResult result{.finish = finish, .stop_token = stop_token};
    result.timings = {.queued = absl::Milliseconds(1),
                      .prefill = absl::Milliseconds(20),
                      .time_to_first_token = absl::Milliseconds(25),
                      .total = absl::Milliseconds(100)};
    result.cached_tokens = cached;
    sink.OnAdmitted(cached);
    for (size_t i = 0; endless || i < script.size(); ++i) {
      if (i == 1 && pause != nullptr) {
        sink.OnPaused();
        pause->WaitForNotification();
        sink.OnPrefill(1, 1);
      }
      const absl::Status status = WaitForRoom(handle, sink);
      if (!status.ok()) return status;
      SampledToken token{.chosen = {script[i % script.size()], -0.5f}};
      for (int k = 0; k < alternatives; ++k) token.alternatives.push_back({k + 10, -1.f - k});
      ++result.completion_tokens;
      if (!sink.OnToken(token)) {
        result.finish = EngineFinish::kSink;
        return result;
      }
      if (endless) absl::SleepFor(absl::Microseconds(200));
    }
    if (!result_error.ok()) return result_error;
    return result;
  }
  absl::Status WaitForRoom(Handle handle, TokenSink& sink) {
    const absl::Duration give_up = SteadyNow() + max_hold;
    bool held = false;
    while (!IsCancelled(handle) && !sink.HasRoom() && SteadyNow() < give_up) {
      if (!std::exchange(held, true)) ++holds;
      absl::SleepFor(absl::Milliseconds(1));
    }
    if (IsCancelled(handle)) return absl::CancelledError("cancelled");
    if (SteadyNow() < give_up) return absl::OkStatus();
    return MakeError(absl::StatusCode::kResourceExhausted, "held",
                     {.reason = reason::kClientTooSlow});
  }

  const ModelInfo info_;
  mutable std::mutex mutex_;
  EngineRequest last_;
  std::vector<Ahead> ahead_;
  Priority last_priority_ = Priority::kNormal;
  EngineLoad load_;
  Handle handles_ = 0;
  std::map<Handle, bool> cancelled_;
  std::vector<std::thread> threads_;
};

}  // namespace softsplice
