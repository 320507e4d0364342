#include "encoder_svc/deadlines.h"

#include <algorithm>

#include "common/time/steady.h"

namespace softsplice {

Deadlines::Deadlines() : thread_([this] { Watch(); }) {}

Deadlines::~Deadlines() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Deadlines::Add(const void* owner, absl::Duration time, Late late) {
  if (time == absl::InfiniteDuration()) return;
  const std::lock_guard lock(mutex_);
  coming_.emplace(std::pair(time, owner), std::move(late));
  changed_.notify_all();
}

void Deadlines::Remove(const void* owner, absl::Duration time) {
  Late forgotten;  // goes after the lock: what it holds may come here
  const std::lock_guard lock(mutex_);
  const auto found = coming_.find({time, owner});
  if (found == coming_.end()) return;
  forgotten = std::move(found->second);
  coming_.erase(found);
}

void Deadlines::Watch() {
  // Also looked at now and then: a wait until the end of time may overflow.
  constexpr absl::Duration kLongest = absl::Hours(1);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    absl::Duration rest = kLongest;
    if (!coming_.empty()) rest = std::min(coming_.begin()->first.first - SteadyNow(), kLongest);
    if (rest > absl::ZeroDuration()) {
      changed_.wait_for(lock, absl::ToChronoNanoseconds(rest));
      continue;
    }
    Late late = std::move(coming_.begin()->second);
    coming_.erase(coming_.begin());
    lock.unlock();
    late();
    late = nullptr;
    lock.lock();
  }
}

}  // namespace softsplice
