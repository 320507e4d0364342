// Something that happens once, and threads that wait for it. As absl::Notification, but of parts
// that ThreadSanitizer knows.
#pragma once

#include <condition_variable>
#include <mutex>

namespace softsplice {

class Event {
 public:
  void Notify() {
    const std::lock_guard lock(mutex_);
    happened_ = true;
    changed_.notify_all();
  }
  bool HasBeenNotified() const {
    const std::lock_guard lock(mutex_);
    return happened_;
  }
  void WaitForNotification() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return happened_; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool happened_ = false;
};

}  // namespace softsplice
