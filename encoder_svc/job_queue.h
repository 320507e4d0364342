// A bounded queue of jobs and the one thread that does them, in the order they came.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace softsplice {

// Thread-safe.
class JobQueue {
 public:
  // What a job leaves to be told, once the queue no longer counts it as running.
  using Answer = absl::AnyInvocable<void()>;
  using Job = absl::AnyInvocable<Answer()>;

  explicit JobQueue(int max_waiting);
  ~JobQueue() { Shutdown(); }

  // RESOURCE_EXHAUSTED, with a retry delay: so many wait. UNAVAILABLE: after Shutdown.
  absl::Status Add(Job job);
  // The same for a part of a job that was taken before: there is always room.
  absl::Status AddPart(Job job);
  // Takes one of the places to wait until it is destroyed: for a job between two of its parts.
  // The queue outlives it.
  std::shared_ptr<void> Hold();

  int waiting() const;
  bool running() const;
  // Does the jobs that were taken, refuses new ones, joins the thread. Idempotent.
  void Shutdown();

 private:
  absl::Status Enqueue(Job job, bool whole);
  void Work();

  const int max_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  int held_ = 0;
  bool running_ = false;
  bool stopping_ = false;
  std::once_flag joined_;
  std::thread worker_;  // last: it uses all of the above
};

}  // namespace softsplice
