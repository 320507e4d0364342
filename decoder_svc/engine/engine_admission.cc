// Who comes in and who has to leave between two steps. See engine_impl.h.
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/engine_impl.h"
#include "decoder_svc/engine/pausing.h"

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
absl::Status GaveWay() { return absl::AbortedError("there is no room for reading ahead"); }

}  // namespace

// Sinks are asked without the mutex, which they may wait for.
void EngineImpl::Hold() {
  std::vector<Sequence*> begun;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& sequence : queue_) {
      if (sequence->pauses > 0) begun.push_back(sequence.get());
    }
  }
  for (const auto& sequence : running_) begun.push_back(sequence.get());
  int held = 0;
  for (Sequence* sequence : begun) {
    if (sequence->completion_tokens() == 0 || sequence->sink->HasRoom()) {
      sequence->held_since.reset();
      continue;
    }
    if (!sequence->held_since) sequence->held_since = Now();
    if (sequence->kv) ++held;
  }
  const std::lock_guard lock(mutex_);
  load_.held = held;
}

void EngineImpl::EndUnwanted() {
  const absl::Duration now = Now();
  absl::flat_hash_set<Handle> cancelled;
  absl::Status refusal;  // of those that have not begun
  bool stopping = false;
  const auto verdict = [&](const Sequence& sequence) {
    if (cancelled.contains(sequence.handle)) return Cancelled();
    if (now >= sequence.give_up) return DeadlineExceeded();
    if (!sequence.cached) return refusal;
    if (stopping) return DrainDeadline();
    const bool too_slow = sequence.held_since && now - *sequence.held_since >= options_.max_hold;
    return too_slow ? ClientTooSlow(options_.max_hold) : absl::OkStatus();
  };
  std::vector<std::pair<std::unique_ptr<Sequence>, absl::Status>> unwanted;
  {
    const std::lock_guard lock(mutex_);
    cancelled.swap(cancelled_);
    stopping = stopping_;
    refusal = Refusal();
    for (Queue* queue : {&queue_, &ahead_}) {
      for (auto& sequence : *queue) {
        absl::Status status = verdict(*sequence);
        if (!status.ok()) unwanted.emplace_back(std::move(sequence), std::move(status));
      }
      std::erase(*queue, nullptr);
    }
    CountQueue();
  }
  for (auto& [sequence, status] : unwanted) End(*sequence, std::move(status));
  for (auto& sequence : running_) {
    absl::Status status = verdict(*sequence);
    if (!status.ok()) End(*sequence, std::move(status));
  }
  Sweep();
}

// Whoever writes past what it was promised takes a block more, or others give way; the oldest may
// have to wait for the end of those that are promised all. Before Admit, so that nobody comes in
// on what it waits for.
void EngineImpl::Grow() {
  short_ = nullptr;
  for (auto& sequence : running_) {
    while (sequence != nullptr && !sequence->held_since &&
           !kv_.Promise(*sequence->kv, sequence->read + 1)) {
      if (EndAhead()) continue;
      std::unique_ptr<Sequence>* const next = WhoGivesWay(std::nullopt);
      if (next == nullptr) {
        short_ = sequence.get();
        break;
      }
      Pause(*next);
    }
  }
  std::erase(running_, nullptr);
}

std::unique_ptr<Sequence>* EngineImpl::WhoGivesWay(std::optional<Priority> newcomer) {
  std::vector<std::unique_ptr<Sequence>*> those;
  std::vector<MemoryHolder> holders;
  for (auto& sequence : running_) {
    if (sequence == nullptr) continue;
    those.push_back(&sequence);
    holders.push_back({.age = sequence->handle,
                       .batch = sequence->priority == Priority::kBatch,
                       .held = sequence->held_since.has_value(),
                       .promised_all = Promised(*sequence) == MostPositions(*sequence),
                       .cannot_return = sequence->values_missing_to > 0});
  }
  const std::optional<size_t> chosen =
      newcomer ? WhoMakesRoom(holders, *newcomer == Priority::kBatch) : WhoIsPaused(holders);
  return chosen ? those[*chosen] : nullptr;
}

// What it has read stays in the cache for as long as nobody needs the room.
void EngineImpl::Pause(std::unique_ptr<Sequence>& sequence) {
  kv_.EndTurn(*sequence->kv, sequence->contents_read());
  sequence->sink->OnPaused();
  const std::lock_guard lock(mutex_);
  LetGo(*sequence);
  sequence->given = static_cast<int>(sequence->tokens.size());
  sequence->read = 0;
  ++sequence->pauses;
  queue_.push_front(std::move(sequence));
  CountQueue();
}

void EngineImpl::LetGo(Sequence& sequence) {
  if (sequence.ahead) {
    kv_.EndPart(*sequence.kv, sequence.contents_read());
  } else {
    --load_.running;
    if (sequence.priority == Priority::kBatch) --batch_running_;
    if (sequence.held_since) --load_.held;
  }
  kv_.Release(*sequence.kv);
  sequence.kv.reset();
  CountKv();
}

// A request that does not fit yet holds back those after it, unless it waits for what another one
// reads. Batch requests leave one sequence of several to normal ones.
std::optional<Priority> EngineImpl::Admit() {
  std::optional<Priority> waiting;
  std::vector<BlockCopy> copies;
  std::vector<std::unique_ptr<Sequence>> rowless, gave_way;
  std::vector<Sequence*> newcomers;
  {
    const std::lock_guard lock(mutex_);
    for (;;) {
      TakeOutRowless(rowless);
      const auto next = NextOfQueue();
      if (next == queue_.end()) break;
      Sequence& sequence = **next;
      const bool batch = sequence.priority == Priority::kBatch;
      if (batch && batch_running_ > 0 && batch_running_ + 1 >= options_.max_sequences) break;
      sequence.kv = kv_.Admit(sequence.kv_request(Promised(sequence)), copies);
      if (!sequence.kv) {
        gave_way.push_back(TakeOutAhead());
        if (gave_way.back() != nullptr) continue;
        waiting = sequence.priority;
        break;
      }
      ++load_.running;
      if (batch) ++batch_running_;
      sequence.read = sequence.kv->cached;
      if (!sequence.cached) {
        kv_.CountMisses(*sequence.kv);
        sequence.cached = sequence.read;
        sequence.admitted = Now();
        sequence.timings.queued = sequence.admitted - sequence.submitted;
        newcomers.push_back(&sequence);
      }
      running_.push_back(std::move(*next));
      queue_.erase(next);
    }
    CountQueue();
    CountKv();
    running_left_ = {};
    for (const auto& sequence : running_) running_left_ += Left(*sequence);
  }
  ranks_->Copy(copies);
  for (const auto& sequence : rowless) End(*sequence, RowsMissing());
  for (const auto& sequence : gave_way) {
    if (sequence != nullptr) End(*sequence, GaveWay());
  }
  for (Sequence* sequence : newcomers) sequence->sink->OnAdmitted(*sequence->cached);
  return waiting;
}

// Only where nobody waits who would need it back at once.
void EngineImpl::AdmitAhead() {
  std::vector<BlockCopy> copies;
  std::vector<std::unique_ptr<Sequence>> needless;
  std::vector<Sequence*> newcomers;
  {
    const std::lock_guard lock(mutex_);
    if (NextOfQueue() != queue_.end()) return;
    for (auto& sequence : ahead_) {
      if (sequence->kv || Follows(*sequence)) continue;
      const KvRequest wanted = sequence->kv_request(sequence->given);
      const int cached = kv_.Cached(wanted);
      const int unread = sequence->given - cached;
      if (cached < sequence->values_missing_to || unread < kv_.shape().block_rows) {
        needless.push_back(std::move(sequence));
        continue;
      }
      sequence->kv = kv_.Admit(wanted, copies);
      if (!sequence->kv) break;
      kv_.CountMisses(*sequence->kv);
      sequence->read = *(sequence->cached = sequence->kv->cached);
      newcomers.push_back(sequence.get());
    }
    std::erase(ahead_, nullptr);
    CountKv();
  }
  ranks_->Copy(copies);
  for (const auto& sequence : needless) End(*sequence, GaveWay());
  for (Sequence* sequence : newcomers) sequence->sink->OnAdmitted(*sequence->cached);
}

std::unique_ptr<Sequence> EngineImpl::TakeOutAhead() {
  const auto youngest =
      std::find_if(ahead_.rbegin(), ahead_.rend(), [](const auto& s) { return s->kv.has_value(); });
  if (youngest == ahead_.rend()) return nullptr;
  std::unique_ptr<Sequence> sequence = std::move(*youngest);
  std::erase(ahead_, nullptr);
  LetGo(*sequence);
  return sequence;
}

bool EngineImpl::EndAhead() {
  std::unique_ptr<Sequence> sequence;
  {
    const std::lock_guard lock(mutex_);
    sequence = TakeOutAhead();
  }
  if (sequence == nullptr) return false;
  End(*sequence, GaveWay());
  return true;
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

// One that was paused and whose client reads too slowly would only be held again.
EngineImpl::Queue::iterator EngineImpl::NextOfQueue() {
  auto next = queue_.end();
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    if ((*it)->held_since || Follows(**it)) continue;
    if (next == queue_.end() || Rank(**it) < Rank(**next)) next = it;
  }
  return next;
}

// Of prompts that begin alike and come together one is read, and the others go on from there.
bool EngineImpl::Follows(Sequence& sequence) {
  const auto leads = [&](const auto& other) {
    return other != nullptr && Follows(sequence, *other);
  };
  return absl::c_any_of(running_, leads) || (sequence.ahead && absl::c_any_of(ahead_, leads));
}

bool EngineImpl::Follows(Sequence& sequence, Sequence& other) {
  if (!other.kv || !other.reads() || other.priority > sequence.priority || !other.kv->shared ||
      !sequence.request.share_cache || other.kv->scope != sequence.request.cache_scope) {
    return false;
  }
  if (sequence.leader == other.handle) return other.read < sequence.leader_reads;
  const auto contents = absl::MakeConstSpan(sequence.contents).first(sequence.given - 1);
  const auto parts = absl::c_mismatch(contents, other.contents).first;
  const int alike = static_cast<int>(parts - contents.begin());
  const int cached = kv_.Cached(sequence.kv_request(0));
  if (other.read >= alike || alike - cached < kv_.shape().block_rows) return false;
  kv_.AddDeparture(*other.kv, alike);
  sequence.leader = other.handle;
  sequence.leader_reads = alike;
  return true;
}

void EngineImpl::CountQueue() {
  load_.queued = static_cast<int>(queue_.size());
  load_.paused = static_cast<int>(
      absl::c_count_if(queue_, [](const auto& sequence) { return sequence->pauses > 0; }));
}

void EngineImpl::CountKv() {
  const BlockPool &full = kv_.full(), &sliding = kv_.sliding();
  load_.kv_bytes_used = ranks_->runner().KvBytes(full.used(), sliding.used());
  load_.kv_bytes_cached = ranks_->runner().KvBytes(full.kept(), sliding.kept());
  load_.cache = kv_.counts();
}

}  // namespace softsplice
