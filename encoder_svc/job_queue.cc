// See job_queue.h.
#include "encoder_svc/job_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

// A job takes seconds: sooner than this no place becomes free.
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

JobQueue::JobQueue(int max_waiting) : max_waiting_(max_waiting), worker_([this] { Work(); }) {}

absl::Status JobQueue::Add(Job job) { return Enqueue(std::move(job), /*whole=*/true); }

absl::Status JobQueue::AddPart(Job job) { return Enqueue(std::move(job), /*whole=*/false); }

absl::Status JobQueue::Enqueue(Job job, bool whole) {
  const std::lock_guard lock(mutex_);
  if (stopping_) {
    return MakeError(absl::StatusCode::kUnavailable, "the encoder is shutting down",
                     {.reason = reason::kDraining, .retry_after = kRetryDelay});
  }
  if (whole && static_cast<int>(jobs_.size()) + held_ >= max_waiting_) {
    return MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat("the encoder's queue is full (", max_waiting_, " pictures and sounds wait)"),
        {.reason = reason::kQueueFull, .retry_after = kRetryDelay});
  }
  jobs_.push_back(std::move(job));
  changed_.notify_one();
  return absl::OkStatus();
}

std::shared_ptr<void> JobQueue::Hold() {
  {
    const std::lock_guard lock(mutex_);
    ++held_;
  }
  return {nullptr, [this](void*) {
            const std::lock_guard lock(mutex_);
            --held_;
          }};
}

int JobQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(jobs_.size());
}

bool JobQueue::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

void JobQueue::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  std::call_once(joined_, [this] { worker_.join(); });
}

void JobQueue::Work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      running_ = true;
    }
    Answer answer = job();
    {
      // Before the answer: whoever has it sees an idle encoder.
      const std::lock_guard lock(mutex_);
      running_ = false;
    }
    answer();
  }
}

}  // namespace softsplice
