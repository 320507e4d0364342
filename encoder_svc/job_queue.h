// A queue of jobs and the threads that do them, in the order they came, as far as what they take
// together allows.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "encoder_svc/tally.h"

namespace softsplice {

// Thread-safe. Jobs and answers don't throw.
class JobQueue {
 public:
  // What a job leaves to be told, once the queue no longer counts it as running.
  using Answer = absl::AnyInvocable<void()>;

  struct Job {
    const void* owner = nullptr;  // whom Remove() knows it by
    // Of the capacity, at most all of it. Taken before the job begins; those behind it wait too.
    uint64_t cost = 0;
    // `taken` is the cost; the job may keep it, or some of it, for longer than it runs.
    absl::AnyInvocable<Answer(Tally::Part taken)> run;
  };

  explicit JobQueue(int threads, uint64_t capacity = std::numeric_limits<uint64_t>::max());
  ~JobQueue() { Shutdown(); }

  // UNAVAILABLE: after Shutdown. How many wait is for the caller to bound.
  absl::Status Add(Job job);
  // Takes a waiting job out: nothing of it is called any more. False: none of this owner's waits.
  bool Remove(const void* owner);

  int waiting() const;
  int running() const;
  // SteadyNow() when that thread began its job that has been at it for the longest, its answer
  // included; now, if all threads wait.
  absl::Duration busy_since() const;

  // Does the jobs that were taken, refuses new ones, joins the threads. Idempotent.
  void Shutdown();

 private:
  void Work(absl::Duration& busy_since);
  bool CanBegin() const;

  const uint64_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  Tally taken_;
  int running_ = 0;
  bool stopping_ = false;
  std::vector<absl::Duration> busy_since_;  // of each thread; infinite: it waits
  std::once_flag joined_;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace softsplice
