#include "decoder_svc/server/read_ahead.h"

#include <algorithm>
#include <utility>

namespace softsplice {
namespace {

// The engine's cache has blocks of so many positions.
constexpr int kLeast = 128;

}  // namespace

class ReadAhead::Sink final : public TokenSink {
 public:
  Sink(std::shared_ptr<ReadAhead> owner, Border::Lease lease)
      : owner_(std::move(owner)), lease_(std::move(lease)) {}
  void OnAdmitted(int cached) override {
    const std::lock_guard lock(owner_->mutex_);
    if (owner_->to_ == 0) owner_->from_ = owner_->to_ = cached;
  }
  void OnPrefill(int read, int /*total*/) override {
    const std::lock_guard lock(owner_->mutex_);
    owner_->to_ = std::max(owner_->to_, read);
  }
  bool OnToken(const SampledToken& /*token*/) override { return false; }
  void OnDone(absl::StatusOr<EngineResult> /*result*/) override {}

 private:
  const std::shared_ptr<ReadAhead> owner_;
  const Border::Lease lease_;  // of what the engine holds of the beginning
};

void ReadAhead::Read(Priority priority, EngineRequest beginning) {
  const int length = static_cast<int>(beginning.prompt.tokens.size());
  Border::Lease lease = border_.NewLease();
  std::optional<Engine::Handle> before;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_ || length < wanted_ + kLeast) return;
    wanted_ = length;
    before = std::exchange(handle_, std::nullopt);
  }
  // It stopped short of what there is now; this one goes on from there.
  if (before) engine_.Cancel(*before);
  if (!lease.Grow(beginning.prompt.tokens.size() * kBytesPerPromptToken).ok()) return;
  const absl::StatusOr<Engine::Handle> handle = engine_.ReadAhead(
      priority, std::move(beginning), std::make_shared<Sink>(shared_from_this(), std::move(lease)));
  if (!handle.ok()) return;  // the request will say why
  bool over = false;
  {
    const std::lock_guard lock(mutex_);
    over = stopped_ || wanted_ != length;
    if (!over) handle_ = *handle;
  }
  if (over) engine_.Cancel(*handle);
}

void ReadAhead::Stop() {
  std::optional<Engine::Handle> handle;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    handle = std::exchange(handle_, std::nullopt);
  }
  if (handle) engine_.Cancel(*handle);
}

int ReadAhead::CachedBefore(int cached) const {
  const std::lock_guard lock(mutex_);
  return std::min(cached, from_) + std::max(cached - to_, 0);
}

}  // namespace softsplice
