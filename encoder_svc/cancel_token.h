// How a job is called off.
#pragma once

#include <functional>
#include <mutex>
#include <utility>

namespace softsplice {

// Made by whoever wants a job, and given along with it. Thread-safe.
class CancelToken {
 public:
  // At any time, also more than once.
  void Cancel() {
    std::function<void()> notify;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      notify = std::exchange(notify_, nullptr);
    }
    if (notify != nullptr) notify();
  }

  bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

  // `notify` is called once: from Cancel(), or at once if that has been called.
  void Notify(std::function<void()> notify) {
    {
      const std::lock_guard lock(mutex_);
      if (!cancelled_) {
        notify_ = std::move(notify);
        return;
      }
    }
    notify();
  }

 private:
  mutable std::mutex mutex_;
  bool cancelled_ = false;
  std::function<void()> notify_;
};

}  // namespace softsplice
