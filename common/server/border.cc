#include "common/server/border.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(250);
// On top of max_calls.
constexpr int kLightCalls = 64;
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

absl::Status Border::Lease::Grow(uint64_t bytes) {
  const uint64_t before = border_->bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (before + bytes <= border_->options_.max_bytes) {
    bytes_ += bytes;
    return absl::OkStatus();
  }
  border_->bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the service holds ", before, " bytes of requests and answers; ", bytes,
                   " more are over its budget of ", border_->options_.max_bytes),
      {.reason = reason::kServerBusy, .retry_after = kRetryDelay});
}

void Border::Lease::Shrink(uint64_t bytes) {
  if (bytes == 0) return;
  bytes_ -= bytes;
  border_->bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

Border::Border(const BorderOptions& options, Gate* gate)
    : options_(options), gate_(gate), ticker_([this] { Tick(); }) {}

Border::~Border() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  ticker_.join();
}

absl::Status Border::Enter(const std::shared_ptr<Guest>& guest, bool light) {
  const std::lock_guard lock(mutex_);
  if (draining_) {
    return MakeError(absl::StatusCode::kUnavailable, "the service is stopping",
                     {.reason = reason::kDraining, .retry_after = kRetryDelay});
  }
  const size_t most = options_.max_calls + (light ? kLightCalls : 0);
  if (guests_.size() >= most) {
    return MakeError(absl::StatusCode::kResourceExhausted,
                     absl::StrCat("the service has ", guests_.size(), " calls; it takes ",
                                  options_.max_calls, " at once"),
                     {.reason = reason::kServerBusy, .retry_after = kRetryDelay});
  }
  guests_.emplace(guest.get(), guest);
  return absl::OkStatus();
}

void Border::Leave(Guest* guest) {
  {
    const std::lock_guard lock(mutex_);
    guests_.erase(guest);
  }
  changed_.notify_all();
}

// Without the mutex while a guest is visited: it may leave meanwhile.
template <class Visit>
void Border::ForEach(Visit visit) {
  std::vector<std::shared_ptr<Guest>> guests;
  {
    const std::lock_guard lock(mutex_);
    guests.reserve(guests_.size());
    for (const auto& [_, weak] : guests_) {
      if (auto guest = weak.lock()) guests.push_back(std::move(guest));
    }
  }
  for (const auto& guest : guests) visit(*guest);
}

void Border::Drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  ForEach([](Guest& guest) { guest.OnDrain(); });
}

void Border::EndAll() {
  ForEach([](Guest& guest) { guest.OnDrainDeadline(); });
}

bool Border::WaitIdle(absl::Duration limit) {
  std::unique_lock lock(mutex_);
  // An infinite one would overflow where it is added to a time.
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(std::min(limit, absl::Hours(1000))),
                           [this] { return guests_.empty(); });
}

int Border::live_calls() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(guests_.size());
}

void Border::Tick() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait_for(lock, absl::ToChronoMilliseconds(kTick), [this] { return stopping_; });
    lock.unlock();
    ForEach([now = SteadyNow()](Guest& guest) { guest.OnTick(now); });
    lock.lock();
  }
}

}  // namespace softsplice
