// Threads for work that takes a client's request some milliseconds: what must neither stop gRPC's
// threads nor those of the models.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace softsplice {

// Thread-safe. Tasks begin in the order they came. There is no bound of its own: every task belongs
// to a live call, and those are bounded.
class Workers {
 public:
  using Task = absl::AnyInvocable<void()>;

  explicit Workers(int threads);
  // Does what was added, then joins the threads.
  ~Workers();

  void Add(Task task);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace softsplice
