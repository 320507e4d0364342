// A queue of jobs and the threads that do them, in the order they came, as far as what they take
// together allows. Those that are alike may be done as one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
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

  using Owner = std::shared_ptr<void>;

  struct Job {
    Owner owner;  // whom Remove() knows it by
    // Of the capacity, at most all of it. Taken before the job begins; those behind it wait too.
    uint64_t cost = 0;
    // Keeps some of that for much longer than others run. Those that do not are let past one that
    // waits for it.
    bool lasting = false;
    // When the turn of one comes, others of its kind that wait, and cost nothing, are done with it:
    // so many together, at most.
    uint64_t kind = 0;
    int together = 1;
    // Waits for a process that is ended in time, which may be minutes: where there are several
    // threads one is left to other jobs, and it is not taken for a job that hangs.
    bool fenced = false;
    // `taken` is the cost; the job may keep it, or some of it, for longer than it runs. `with`:
    // whose jobs it does too; theirs are not called.
    absl::AnyInvocable<Answer(Tally::Part taken, std::vector<Owner> with)> run;
  };

  explicit JobQueue(int threads, uint64_t capacity = std::numeric_limits<uint64_t>::max());
  ~JobQueue() { Shutdown(); }

  // UNAVAILABLE: after Shutdown. How many wait is for the caller to bound.
  absl::Status Add(Job job);
  // Takes a waiting job out: nothing of it is called any more. False: none of this owner's waits.
  bool Remove(const void* owner);

  int waiting() const;
  int running() const;  // each of those that are done together
  // SteadyNow() when that thread began its job that has been at it for the longest, its answer
  // included; now, if all threads wait. Jobs that are fenced don't count.
  absl::Duration busy_since() const;

  // Does the jobs that were taken, refuses new ones, joins the threads. Idempotent.
  void Shutdown();

 private:
  void Work(absl::Duration& busy_since);
  void Wake();
  // The first that may begin; the end: none.
  std::deque<Job>::iterator Next();
  std::vector<Owner> TakeAlike(const Job& job);

  const uint64_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  Tally lasting_, brief_;  // what jobs have taken
  int running_ = 0;
  int fenced_ = 0;  // of those
  bool stopping_ = false;
  std::vector<absl::Duration> busy_since_;  // of each thread; infinite: it waits
  std::once_flag joined_;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace softsplice
