// Calls back when a time has come.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace softsplice {

// Thread-safe.
class Deadlines {
 public:
  using Late = absl::AnyInvocable<void()>;

  Deadlines();
  // What has not come is forgotten.
  ~Deadlines();
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;

  // Calls `late` once, on a thread of its own, when it is `time` (of SteadyNow), unless that is
  // never. An owner has one at a time.
  void Add(const void* owner, absl::Duration time, Late late);
  // Forgets it; it may be called just now. No-op: there is none.
  void Remove(const void* owner, absl::Duration time);

 private:
  void Watch();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<absl::Duration, const void*>, Late> coming_;  // the first one first
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace softsplice
