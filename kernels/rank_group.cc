// See rank_group.h.
#include "kernels/rank_group.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

// For ranks that were aborted to notice it.
constexpr std::chrono::milliseconds kFarewell{1000};

}  // namespace

struct RankGroup::Shared {
  // Keeps the first error and aborts all ranks: the others' errors are echoes of it.
  void Fail(const absl::Status& status) {
    {
      const std::lock_guard lock(mutex);
      if (!first_error.ok()) return;
      first_error = status;
      changed.notify_all();
    }
    for (int rank = 0; rank < ranks; ++rank) abort(rank, status);
  }
  // What `rank` has to say of a round.
  void Done(int rank, const absl::Status& status) {
    if (!status.ok()) Fail(status);
    const std::lock_guard lock(mutex);
    at_work.erase(rank);
    changed.notify_all();
  }

  const int ranks;
  const Abort abort;
  mutable std::mutex mutex;
  std::condition_variable changed;
  Work work;
  uint64_t round = 0;
  std::set<int> at_work;  // ranks
  absl::Status first_error;
  bool stopping = false;
};

RankGroup::RankGroup(int ranks, Abort abort, absl::Duration limit)
    : limit_(limit), shared_(new Shared{.ranks = ranks, .abort = std::move(abort)}) {
  for (int rank = 1; rank < ranks; ++rank) {
    threads_.emplace_back([shared = shared_, rank] { Loop(shared, rank); });
  }
}

RankGroup::~RankGroup() {
  std::set<int> hanging;
  {
    std::unique_lock lock(shared_->mutex);
    shared_->stopping = true;
    shared_->changed.notify_all();
    shared_->changed.wait_for(lock, kFarewell, [&] { return shared_->at_work.empty(); });
    hanging = shared_->at_work;
  }
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (hanging.count(static_cast<int>(i) + 1) > 0) {
      threads_[i].detach();
    } else {
      threads_[i].join();
    }
  }
}

absl::Status RankGroup::Run(const Work& work) {
  {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->first_error.ok()) return shared_->first_error;
    shared_->work = work;
    for (int rank = 0; rank < shared_->ranks; ++rank) shared_->at_work.insert(rank);
    ++shared_->round;
    shared_->changed.notify_all();
  }
  shared_->Done(0, work(0));
  std::string hanging;
  {
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait_for(lock, absl::ToChronoMilliseconds(limit_), [&] {
      return shared_->at_work.empty() || !shared_->first_error.ok();
    });
    hanging = absl::StrJoin(shared_->at_work, ", ");
  }
  if (!hanging.empty()) {  // unless it was aborted just now
    shared_->Fail(RankFailed(absl::StrCat("rank ", hanging, " hangs: it is not done ",
                                          absl::FormatDuration(limit_), " after rank 0")));
  }
  return error();
}

absl::Status RankGroup::error() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->first_error;
}

void RankGroup::Loop(const std::shared_ptr<Shared>& shared, int rank) {
  for (uint64_t round = 1;; ++round) {
    Work work;
    {
      std::unique_lock lock(shared->mutex);
      shared->changed.wait(lock, [&] { return shared->round == round || shared->stopping; });
      if (shared->stopping) return;
      work = shared->work;
    }
    shared->Done(rank, work(rank));
  }
}

}  // namespace softsplice
