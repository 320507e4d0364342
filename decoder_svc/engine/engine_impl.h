// The engine: a bounded queue in front of one thread that reads prompts and writes answers.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/engine/runner.h"
#include "decoder_svc/engine/scheduler.h"

namespace softsplice {

// See Engine::Load.
struct SpecialTokens {
  std::vector<int32_t> stop;
  std::vector<int32_t> banned;
  std::vector<int32_t> placeholders;
  int32_t pad = 0;
};

class EngineImpl : public Engine {
 public:
  EngineImpl(std::unique_ptr<Backend> backend, std::unique_ptr<Runner> runner, ModelInfo info,
             const EngineOptions& options, SpecialTokens special);
  ~EngineImpl() override;

  absl::StatusOr<Handle> Submit(EngineRequest request, std::shared_ptr<TokenSink> sink) override;
  void Cancel(Handle handle) override;
  const ModelInfo& info() const override { return info_; }
  EngineLoad load() const override;
  absl::Time last_step() const override { return absl::FromUnixNanos(last_step_.load()); }
  void Shutdown(absl::Time deadline) override;

 private:
  std::unique_ptr<Sequence> MakeSequence(EngineRequest request,
                                         std::shared_ptr<TokenSink> sink) const;
  int32_t InputId(int32_t token) const;
  int MostPositions(const Sequence& sequence) const;

  // The engine thread.
  void Loop();
  bool WaitForWork();  // false: shut down and nothing left
  void EndUnwanted();
  void Admit();
  void RunStep();
  void Advance(Sequence& sequence, int rows);
  void Pick(Sequence& sequence, absl::Span<float> logits);
  void Finish(Sequence& sequence, EngineFinish finish, int32_t stop_token = -1);
  void End(Sequence& sequence, absl::StatusOr<EngineResult> result);
  void Sweep();  // forgets the sequences that ended

  const std::unique_ptr<Backend> backend_;
  const std::unique_ptr<Runner> runner_;
  const ModelInfo info_;
  const EngineOptions options_;
  const SpecialTokens special_;

  // The engine thread's own.
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  std::vector<Work> work_;
  std::vector<StepPart> parts_;

  std::atomic<int64_t> last_step_;  // nanoseconds of Unix time
  mutable absl::Mutex mutex_;
  absl::CondVar wake_;
  std::deque<std::unique_ptr<Sequence>> queue_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Handle> live_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<Handle> cancelled_ ABSL_GUARDED_BY(mutex_);  // of those alive
  Handle next_handle_ ABSL_GUARDED_BY(mutex_) = 1;
  EngineLoad load_ ABSL_GUARDED_BY(mutex_);
  absl::Duration retry_after_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(1);  // what the last one took
  absl::Time shutdown_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;

  absl::Mutex join_mutex_;
  std::thread thread_;
};

}  // namespace softsplice
