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

// Memory that is short may be there again, another decoder has other devices: that is for the
// client to know.
absl::Status StepError(const absl::Status& status) {
  const std::string why = GetErrorDetail(status).reason;
  if (why == reason::kOutOfMemory || why == reason::kRankFailed) return status;
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
  return stopping_ && running_.empty() && queue_.empty() && ahead_.empty();
}

bool EngineImpl::Round() {
  last_step_ = absl::ToInt64Nanoseconds(Now());
  {
    const std::lock_guard lock(mutex_);
    news_ = false;
  }
  Hold();
  EndUnwanted();
  Grow();
  // Nobody waits for those that do not read.
  while (const std::optional<Priority> newcomer = Admit()) {
    std::unique_ptr<Sequence>* const held = WhoGivesWay(newcomer);
    if (held == nullptr) break;
    Pause(*held);
    std::erase(running_, nullptr);
  }
  AdmitAhead();
  return Step();
}

// Sinks are asked anew after a beat.
void EngineImpl::WaitForNews() {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, kBeat, [this] { return news_; });
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
  const absl::StatusOr<absl::Span<const RowLogits>> logits = ranks_->Run(parts_);
  const PromptRows read = RowsRead();
  const StepReport report = {
      .status = logits.status(), .rows = Rows(), .prompt_rows = read.count, .took = Now() - start};
  options_.on_step(report);
  if (!logits.ok()) return FailStep(logits.status());
  {
    const std::lock_guard lock(mutex_);
    pace_.OnStep(read, report.rows - read.count, report.took);
    CountKv();
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
    if (!sequence->held_since && sequence.get() != short_) able_.push_back(sequence.get());
  }
  {
    const std::lock_guard lock(mutex_);
    for (const auto& sequence : ahead_) {
      if (sequence->kv) able_.push_back(sequence.get());
    }
    for (const Sequence* sequence : able_) {
      turns_.push_back({.prompt_left = std::max(sequence->given - sequence->read, 0),
                        .spent = shares_.Spent(sequence->request.client),
                        .batch = sequence->priority == Priority::kBatch,
                        .ahead = sequence->ahead,
                        .weight = pace_.Weight(sequence->read)});
    }
  }
  PlanStep(absl::MakeSpan(turns_),
           {.chunk = options_.ChunkOn({}), .stall_target = options_.stall_target},
           pace_.rows_per_second(), batch_share_.due());
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
                      .logit_rows = rows == s.unread() && !s.ahead ? 1 : 0,
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

int EngineImpl::Rows() const {
  int rows = 0;
  for (const StepPart& part : parts_) rows += static_cast<int>(part.tokens.size());
  return rows;
}

PromptRows EngineImpl::RowsRead() const {
  PromptRows read;
  for (size_t i = 0; i < work_.size(); ++i) {
    if (!work_[i]->reads()) continue;
    const int64_t rows = parts_[i].tokens.size();
    read.count += static_cast<int>(rows);
    read.positions += rows * parts_[i].first + rows * (rows - 1) / 2;
  }
  return read;
}

// A device that does not recover fails again when asked; whoever hears of the end finds it known.
void EngineImpl::FailStep(const absl::Status& status) {
  const absl::Status error = StepError(status);
  if (const absl::Status again = ranks_->Recover(); !again.ok()) {
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
  const bool reads = sequence.reads();
  {
    const std::lock_guard lock(mutex_);
    shares_.Charge(sequence.request.client,
                   rows * (reads ? FairShare::kPromptRow : FairShare::kWrittenRow));
  }
  sequence.read += rows;
  kv_.Commit(*sequence.kv, sequence.contents_read(), rows);
  if (!reads) return;
  const bool whole = sequence.unread() == 0 && sequence.completion_tokens() == 0;
  if (whole && !sequence.ahead) {
    kv_.EndTurn(*sequence.kv, sequence.contents_read());
    sequence.timings.prefill = Now() - sequence.admitted;
  }
  sequence.sink->OnPrefill(std::min(sequence.read, sequence.prompt_tokens), sequence.prompt_tokens);
  if (whole && sequence.ahead) {
    End(sequence,
        EngineResult{.finish = EngineFinish::kMaxTokens, .cached_tokens = *sequence.cached});
  }
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
                             .cached_tokens = *sequence.cached,
                             .completion_tokens = sequence.completion_tokens(),
                             .pauses = sequence.pauses,
                             .timings = sequence.timings});
}

// Gives back what the sequence holds before its sink hears of the end, so that whoever waited for
// the end finds it free.
void EngineImpl::End(Sequence& sequence, absl::StatusOr<EngineResult> result) {
  {
    const std::lock_guard lock(mutex_);
    shares_.Leave(sequence.request.client);
    if (sequence.kv) LetGo(sequence);
    if (sequence.cached && !sequence.ahead) {
      pace_.OnEnd(sequence.prompt_tokens - *sequence.cached, sequence.completion_tokens());
    }
    live_.erase(sequence.handle);
    cancelled_.erase(sequence.handle);
  }
  std::exchange(sequence.sink, nullptr)->OnDone(std::move(result));
}

void EngineImpl::Sweep() {
  const auto ended = [](const auto& sequence) { return sequence->sink == nullptr; };
  std::erase_if(running_, ended);
  const std::lock_guard lock(mutex_);
  std::erase_if(ahead_, ended);
}

}  // namespace softsplice
