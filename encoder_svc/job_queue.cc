// See job_queue.h.
#include "encoder_svc/job_queue.h"

#include <algorithm>
#include <utility>

#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"

namespace softsplice {

JobQueue::JobQueue(int threads, uint64_t capacity)
    : capacity_(capacity),
      lasting_([this] { Wake(); }),
      brief_([this] { Wake(); }),
      busy_since_(static_cast<size_t>(threads), absl::InfiniteDuration()) {
  for (absl::Duration& busy_since : busy_since_) {
    threads_.emplace_back([this, &busy_since] { Work(busy_since); });
  }
}

void JobQueue::Wake() {
  // Under the lock, so that no thread is between looking and waiting.
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

absl::Status JobQueue::Add(Job job) {
  const std::lock_guard lock(mutex_);
  if (stopping_) {
    return MakeError(absl::StatusCode::kUnavailable, "the encoder is shutting down",
                     {.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
  }
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return absl::OkStatus();
}

bool JobQueue::Remove(const void* owner) {
  Job removed;  // goes after the lock: its owner's last breath may give back its share
  const std::lock_guard lock(mutex_);
  const auto job = std::find_if(jobs_.begin(), jobs_.end(),
                                [&](const Job& waiting) { return waiting.owner.get() == owner; });
  if (job == jobs_.end()) return false;
  removed = std::move(*job);
  jobs_.erase(job);
  changed_.notify_all();
  return true;
}

int JobQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(jobs_.size());
}

int JobQueue::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

absl::Duration JobQueue::busy_since() const {
  const std::lock_guard lock(mutex_);
  return std::min(*std::min_element(busy_since_.begin(), busy_since_.end()), SteadyNow());
}

void JobQueue::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  std::call_once(joined_, [this] {
    for (std::thread& thread : threads_) thread.join();
  });
}

std::deque<JobQueue::Job>::iterator JobQueue::Next() {
  const bool no_fenced = fenced_ > 0 && fenced_ + 1 >= static_cast<int>(busy_since_.size());
  const uint64_t without_brief = capacity_ - lasting_.total();
  const uint64_t free = without_brief - brief_.total();
  bool held_up = false;  // one waits for what lasts
  for (auto job = jobs_.begin(); job != jobs_.end(); ++job) {
    if ((job->fenced && no_fenced) || (job->lasting && held_up)) continue;
    if (job->cost <= free) return job;
    if (job->cost <= without_brief) break;  // soon there is room for it
    held_up = true;
  }
  return jobs_.end();
}

// Leaves a job for each thread that has none.
std::vector<JobQueue::Owner> JobQueue::TakeAlike(const Job& job) {
  std::vector<Owner> alike;
  const auto idle = std::count(busy_since_.begin(), busy_since_.end(), absl::InfiniteDuration());
  for (auto next = jobs_.begin(); next != jobs_.end() &&
                                  static_cast<std::ptrdiff_t>(jobs_.size()) > idle &&
                                  static_cast<int>(alike.size()) + 1 < job.together;) {
    if (next->kind != job.kind) {
      ++next;
      continue;
    }
    alike.push_back(std::move(next->owner));
    next = jobs_.erase(next);
  }
  return alike;
}

void JobQueue::Work(absl::Duration& busy_since) {
  std::unique_lock lock(mutex_);
  for (;;) {
    auto next = jobs_.end();
    changed_.wait(lock, [&] {
      next = Next();
      return next != jobs_.end() || (stopping_ && jobs_.empty());
    });
    if (jobs_.empty()) return;
    Job job = std::move(*next);
    jobs_.erase(next);
    Tally::Part taken = (job.lasting ? lasting_ : brief_).Add(job.cost);
    if (!job.fenced) busy_since = SteadyNow();
    fenced_ += job.fenced ? 1 : 0;
    std::vector<Owner> alike = TakeAlike(job);
    const int running = 1 + static_cast<int>(alike.size());
    running_ += running;
    changed_.notify_all();
    lock.unlock();
    Answer answer = job.run(std::move(taken), std::move(alike));
    lock.lock();
    // Before the answer: whoever has it sees an idle encoder.
    running_ -= running;
    if (job.fenced) {
      --fenced_;
      changed_.notify_all();
    }
    lock.unlock();
    answer();
    answer = nullptr;
    job = {};
    lock.lock();
    busy_since = absl::InfiniteDuration();
  }
}

}  // namespace softsplice
