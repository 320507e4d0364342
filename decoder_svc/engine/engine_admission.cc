// Who comes in and who has to leave between two steps. See engine_impl.h.
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/engine_impl.h"

namespace softsplice {
namespace {

absl::Status Cancelled() {
  return MakeError(absl::StatusCode::kCancelled, "the request was cancelled",
                   {.reason = reason::kCancelled});
}

absl::Status DeadlineExceeded() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "the request's deadline has passed",
                   {.reason = reason::kDeadlineExceeded});
}

absl::Status ClientTooSlow(absl::Duration limit) {
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat("the client has read too little of the answer for ",
                                absl::FormatDuration(limit)),
                   {.reason = reason::kClientTooSlow});
}

absl::Status DrainDeadline() {
  return MakeError(absl::StatusCode::kUnavailable,
                   "the decoder stopped before the answer was complete",
                   {.reason = reason::kDrainDeadline, .retry_after = absl::Seconds(1)});
}

// For the caller, who has the rows or can have them made; a client never sees it.
absl::Status RowsMissing() {
  return absl::AbortedError("rows that came without values are not in the cache");
}

}  // namespace

void EngineImpl::Hold() {
  int held = 0;
  for (const auto& sequence : running_) {
    if (sequence->reads_prompt() || sequence->sink->HasRoom()) {
      sequence->held_since.reset();
      continue;
    }
    if (!sequence->held_since) sequence->held_since = Now();
    ++held;
  }
  const std::lock_guard lock(mutex_);
  load_.held = held;
}

void EngineImpl::EndUnwanted() {
  const absl::Duration now = Now();
  absl::flat_hash_set<Handle> cancelled;
  const auto verdict = [&](const Sequence& sequence, const absl::Status& otherwise) {
    if (cancelled.contains(sequence.handle)) return Cancelled();
    return now >= sequence.give_up ? DeadlineExceeded() : otherwise;
  };
  std::vector<std::pair<std::unique_ptr<Sequence>, absl::Status>> unwanted;
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled.swap(cancelled_);
    stopping = stopping_;
    const absl::Status refusal = Refusal();
    for (auto& sequence : queue_) {
      absl::Status status = verdict(*sequence, refusal);
      if (!status.ok()) unwanted.emplace_back(std::move(sequence), std::move(status));
    }
    std::erase(queue_, nullptr);
    load_.queued = static_cast<int>(queue_.size());
  }
  for (auto& [sequence, status] : unwanted) End(*sequence, std::move(status));
  for (auto& sequence : running_) {
    absl::Status status = verdict(*sequence, stopping ? DrainDeadline() : absl::OkStatus());
    if (status.ok() && sequence->held_since && now - *sequence->held_since >= options_.max_hold) {
      status = ClientTooSlow(options_.max_hold);
    }
    if (!status.ok()) End(*sequence, std::move(status));
  }
  Sweep();
}

// A request that does not fit yet holds back those after it, unless it waits for what another one
// reads. Batch requests leave one sequence of several to normal ones.
void EngineImpl::Admit() {
  std::vector<BlockCopy> copies;
  std::vector<std::unique_ptr<Sequence>> rowless;
  const size_t before = running_.size();
  {
    const std::lock_guard lock(mutex_);
    for (;;) {
      TakeOutRowless(rowless);
      const auto next = NextOfQueue();
      if (next == queue_.end()) break;
      Sequence& sequence = **next;
      const bool batch = sequence.priority == Priority::kBatch;
      if (batch && batch_running_ > 0 && batch_running_ + 1 >= options_.max_sequences) break;
      sequence.kv = kv_.Admit(sequence.kv_request(MostPositions(sequence)), copies);
      if (!sequence.kv) break;
      ++load_.running;
      if (batch) ++batch_running_;
      sequence.read = sequence.kv->cached;
      sequence.admitted = Now();
      sequence.timings.queued = sequence.admitted - sequence.submitted;
      running_.push_back(std::move(*next));
      queue_.erase(next);
    }
    load_.queued = static_cast<int>(queue_.size());
    CountKv();
    running_left_ = {};
    for (const auto& sequence : running_) running_left_ += Left(*sequence);
  }
  ranks_->Copy(copies);
  for (const auto& sequence : rowless) End(*sequence, RowsMissing());
  for (size_t i = before; i < running_.size(); ++i) {
    running_[i]->sink->OnAdmitted(running_[i]->kv->cached);
  }
}

// Those that rely on rows of before, which are not there any more.
void EngineImpl::TakeOutRowless(std::vector<std::unique_ptr<Sequence>>& rowless) {
  for (auto& sequence : queue_) {
    const int needed = sequence->values_missing_to;
    if (needed == 0 || kv_.Cached(sequence->kv_request(0)) >= needed) continue;
    if (Follows(*sequence) && sequence->leader_reads >= needed) continue;
    rowless.push_back(std::move(sequence));
  }
  std::erase(queue_, nullptr);
}

EngineImpl::Queue::iterator EngineImpl::NextOfQueue() {
  auto next = queue_.end();
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    if (Follows(**it)) continue;
    if (next == queue_.end() || Rank(**it) < Rank(**next)) next = it;
  }
  return next;
}

// Of prompts that begin alike and come together one is read, and the others go on from there.
bool EngineImpl::Follows(Sequence& sequence) {
  const auto contents = absl::MakeConstSpan(sequence.contents).first(sequence.prompt_tokens - 1);
  for (const auto& other : running_) {
    if (!other->reads_prompt() || other->priority > sequence.priority || !other->kv->shared ||
        !sequence.request.share_cache || other->kv->scope != sequence.request.cache_scope) {
      continue;
    }
    if (sequence.leader == other->handle) {
      if (other->read < sequence.leader_reads) return true;
      continue;
    }
    const auto parts = absl::c_mismatch(contents, other->contents).first;
    const int alike = static_cast<int>(parts - contents.begin());
    const int cached = kv_.Cached(sequence.kv_request(0));
    if (other->read >= alike || alike - cached < kv_.shape().block_rows) continue;
    kv_.AddDeparture(*other->kv, alike);
    sequence.leader = other->handle;
    sequence.leader_reads = alike;
    return true;
  }
  return false;
}

void EngineImpl::CountKv() {
  load_.kv_bytes_used = ranks_->runner().KvBytes(kv_.full_used(), kv_.sliding_used());
}

}  // namespace softsplice
