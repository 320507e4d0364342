// The engine's thread: what happens step by step. See engine_impl.h.
#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/engine_impl.h"

namespace softsplice {
namespace {

// How often an idle engine says that it lives.
constexpr std::chrono::milliseconds kBeat{100};
// So many failures in a row, of requests that are not at fault: the next ones would fail, too.
constexpr int kMostFailures = 3;
// So many plans in a row that give nobody a row: the next ones would give none, either.
constexpr int kMostEmptyPlans = 3;

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

// Memory that is short may be there again: that is for the client to know.
absl::Status StepError(const absl::Status& status) {
  if (GetErrorDetail(status).reason == reason::kOutOfMemory) return status;
  return MakeError(absl::StatusCode::kInternal, status.message(), {.reason = reason::kDeviceError});
}

}  // namespace

void EngineImpl::Loop() {
  while (!Over()) {
    if (!Round()) WaitForNews();
  }
}

bool EngineImpl::Over() const {
  const std::lock_guard lock(mutex_);
  return stopping_ && running_.empty() && queue_.empty();
}

bool EngineImpl::Round() {
  last_step_ = absl::ToInt64Nanoseconds(Now());
  {
    const std::lock_guard lock(mutex_);
    news_ = false;
  }
  Hold();
  EndUnwanted();
  Admit();
  return Step();
}

// Sinks are asked anew after a beat.
void EngineImpl::WaitForNews() {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, kBeat, [this] { return news_; });
}

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
  const size_t before = running_.size();
  {
    const std::lock_guard lock(mutex_);
    for (auto next = NextOfQueue(); next != queue_.end(); next = NextOfQueue()) {
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
  runner_->Copy(copies);
  for (size_t i = before; i < running_.size(); ++i) {
    running_[i]->sink->OnAdmitted(running_[i]->kv->cached);
  }
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

bool EngineImpl::Step() {
  Plan();
  if (able_.empty()) return false;
  if (work_.empty()) {
    OnEmptyPlan();
  } else {
    Run();
  }
  Sweep();
  return true;
}

void EngineImpl::Run() {
  empty_plans_ = 0;
  const absl::Duration start = Now();
  const absl::StatusOr<absl::Span<const RowLogits>> logits = runner_->Run(parts_);
  if (!logits.ok()) return FailStep(logits.status());
  {
    const std::lock_guard lock(mutex_);
    pace_.OnStep(PromptRows(), Now() - start);
  }
  size_t row = 0;
  for (size_t i = 0; i < work_.size(); ++i) {
    Advance(*work_[i], static_cast<int>(parts_[i].tokens.size()));
    if (parts_[i].logit_rows > 0) Pick(*work_[i], (*logits)[row++]);
  }
}

void EngineImpl::Plan() {
  able_.clear();
  turns_.clear();
  work_.clear();
  parts_.clear();
  for (const auto& sequence : running_) {
    if (!sequence->held_since) able_.push_back(sequence.get());
  }
  {
    const std::lock_guard lock(mutex_);
    for (const Sequence* sequence : able_) {
      turns_.push_back({.prompt_left = std::max(sequence->prompt_tokens - sequence->read, 0),
                        .spent = shares_.Spent(sequence->request.client),
                        .batch = sequence->priority == Priority::kBatch});
    }
  }
  PlanStep(absl::MakeSpan(turns_),
           {.chunk = options_.ChunkOn({}), .stall_target = options_.stall_target},
           pace_.best_rows_per_second(), batch_share_.due());
  batch_share_.OnPlan(turns_);
  for (size_t i = 0; i < turns_.size(); ++i) {
    const int rows = turns_[i].rows;
    Sequence& s = *able_[i];
    if (rows == 0) continue;
    work_.push_back(&s);
    kv_.Extend(*s.kv, s.read, rows);
    parts_.push_back({.slot = s.kv->slot,
                      .first = s.read,
                      .tokens = absl::MakeConstSpan(s.tokens).subspan(s.read, rows),
                      .soft = s.request.prompt.soft,
                      .logit_rows = rows == s.unread() ? 1 : 0,
                      .all_logits = s.sampler.needs_all(),
                      .blocks = &s.kv->blocks});
  }
}

// Our own fault, and without an end nobody would hear of it.
void EngineImpl::OnEmptyPlan() {
  if (++empty_plans_ < kMostEmptyPlans) return;
  empty_plans_ = 0;
  const absl::Status status =
      MakeError(absl::StatusCode::kInternal,
                absl::StrCat("no row of ", able_.size(), " requests was planned ", kMostEmptyPlans,
                             " times in a row"),
                {.reason = reason::kInternal});
  CountFailure(status);
  End(*able_.front(), status);
}

int EngineImpl::PromptRows() const {
  int rows = 0;
  for (size_t i = 0; i < work_.size(); ++i) {
    if (work_[i]->reads_prompt()) rows += static_cast<int>(parts_[i].tokens.size());
  }
  return rows;
}

// A device that does not recover fails again when asked; whoever hears of the end finds it known.
void EngineImpl::FailStep(const absl::Status& status) {
  const absl::Status error = StepError(status);
  if (const absl::Status again = backend_->Wait(); !again.ok()) {
    Fail(StepError(again));
  } else if (error.code() == absl::StatusCode::kInternal) {
    CountFailure(error);
  }
  for (Sequence* sequence : work_) End(*sequence, error);
}

void EngineImpl::CountFailure(const absl::Status& status) {
  if (++failures_ == kMostFailures) Fail(status);
}

void EngineImpl::Fail(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  health_.Update(status);
  draining_ = true;
}

void EngineImpl::Advance(Sequence& sequence, int rows) {
  const bool reads_prompt = sequence.reads_prompt();
  {
    const std::lock_guard lock(mutex_);
    shares_.Charge(sequence.request.client,
                   rows * (reads_prompt ? FairShare::kPromptRow : FairShare::kWrittenRow));
  }
  sequence.read += rows;
  kv_.Commit(*sequence.kv, sequence.contents_read(), rows);
  if (!reads_prompt) return;
  if (sequence.unread() == 0) {
    kv_.EndTurn(*sequence.kv, sequence.contents_read());
    sequence.timings.prefill = Now() - sequence.admitted;
  }
  sequence.sink->OnPrefill(sequence.read, sequence.prompt_tokens);
}

// Takes the next token from `logits` and tells the sink.
void EngineImpl::Pick(Sequence& sequence, const RowLogits& logits) {
  absl::StatusOr<SampledToken> sampled = sequence.sampler.Sample(logits);
  if (!sampled.ok()) {
    // Soft tokens are the client's: large ones may overflow.
    if (sequence.request.prompt.soft.empty()) CountFailure(sampled.status());
    return End(sequence, std::move(sampled).status());
  }
  failures_ = 0;
  const int32_t token = sampled->chosen.token;
  if (sequence.completion_tokens() == 0) {
    sequence.timings.time_to_first_token = Now() - sequence.submitted;
  }
  if (!sequence.request.ignore_stop_tokens && absl::c_linear_search(special_.stop, token)) {
    return Finish(sequence, EngineFinish::kStopToken, token);
  }
  sequence.tokens.push_back(InputId(token));
  sequence.contents.push_back(ContentOfToken(sequence.tokens.back()));
  if (!sequence.sink->OnToken(*sampled)) return Finish(sequence, EngineFinish::kSink);
  if (sequence.completion_tokens() == sequence.request.max_tokens) {
    return Finish(sequence, EngineFinish::kMaxTokens);
  }
  if (sequence.read == info_.context_length) Finish(sequence, EngineFinish::kContextFull);
}

void EngineImpl::Finish(Sequence& sequence, EngineFinish finish, int32_t stop_token) {
  sequence.timings.total = Now() - sequence.submitted;
  kv_.EndTurn(*sequence.kv, sequence.contents_read());
  End(sequence, EngineResult{.finish = finish,
                             .stop_token = stop_token,
                             .cached_tokens = sequence.kv->cached,
                             .completion_tokens = sequence.completion_tokens(),
                             .timings = sequence.timings});
}

// Gives back what the sequence holds before its sink hears of the end, so that whoever waited for
// the end finds it free.
void EngineImpl::End(Sequence& sequence, absl::StatusOr<EngineResult> result) {
  {
    const std::lock_guard lock(mutex_);
    shares_.Leave(sequence.request.client);
    if (sequence.kv) {
      kv_.Release(*sequence.kv);
      --load_.running;
      if (sequence.priority == Priority::kBatch) --batch_running_;
      if (sequence.held_since) --load_.held;
      CountKv();
      pace_.OnEnd(sequence.prompt_tokens - sequence.kv->cached, sequence.completion_tokens());
    }
    live_.erase(sequence.handle);
    cancelled_.erase(sequence.handle);
  }
  std::exchange(sequence.sink, nullptr)->OnDone(std::move(result));
}

void EngineImpl::CountKv() {
  load_.kv_bytes_used = runner_->KvBytes(kv_.full_used(), kv_.sliding_used());
}

void EngineImpl::Sweep() {
  std::erase_if(running_, [](const auto& sequence) { return sequence->sink == nullptr; });
}

}  // namespace softsplice
