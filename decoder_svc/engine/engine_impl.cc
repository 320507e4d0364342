// See engine_impl.h.
#include "decoder_svc/engine/engine_impl.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "decoder_svc/engine/validate.h"

namespace softsplice {
namespace {

// How often an idle engine says that it lives.
constexpr std::chrono::milliseconds kBeat{100};
// So many failures in a row, of requests that are not at fault: the next ones would fail, too.
constexpr int kMostFailures = 3;

bool Contains(const std::vector<int32_t>& tokens, int32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

std::string Rounded(absl::Duration duration) {
  return absl::FormatDuration(absl::Ceil(duration, absl::Milliseconds(100)));
}

absl::Status Cancelled() {
  return MakeError(absl::StatusCode::kCancelled, "the request was cancelled",
                   {.reason = reason::kCancelled});
}

absl::Status DeadlineExceeded() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "the request's deadline has passed",
                   {.reason = reason::kDeadlineExceeded});
}

absl::Status DrainDeadline() {
  return MakeError(absl::StatusCode::kUnavailable,
                   "the decoder stopped before the answer was complete",
                   {.reason = reason::kDrainDeadline, .retry_after = absl::Seconds(1)});
}

absl::Status QueueFull(absl::string_view message, absl::Duration until_room) {
  return MakeError(
      absl::StatusCode::kResourceExhausted, message,
      {.reason = reason::kQueueFull, .retry_after = std::max(until_room, absl::Seconds(1))});
}

// Memory that is short may be there again: that is for the client to know.
absl::Status StepError(const absl::Status& status) {
  if (GetErrorDetail(status).reason == reason::kOutOfMemory) return status;
  return MakeError(absl::StatusCode::kInternal, status.message(), {.reason = reason::kDeviceError});
}

}  // namespace

EngineImpl::EngineImpl(std::unique_ptr<Backend> backend, std::unique_ptr<Runner> runner,
                       ModelInfo info, const EngineOptions& options, SpecialTokens special)
    : backend_(std::move(backend)),
      runner_(std::move(runner)),
      info_(std::move(info)),
      options_(options),
      special_(std::move(special)),
      last_step_(absl::ToInt64Nanoseconds(SteadyNow())) {
  running_.reserve(options.max_sequences);
  work_.reserve(options.max_sequences);
  parts_.reserve(options.max_sequences);
  load_.kv_bytes_total = runner_->KvBytesTotal();
  thread_ = std::thread([this] { Loop(); });
}

EngineImpl::~EngineImpl() { Shutdown(); }

absl::StatusOr<Engine::Place> EngineImpl::Reserve(absl::Duration patience) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Refusal());
  const int waiting = load_.queued + load_.reserved;
  const int places = options_.max_queue + options_.max_sequences - load_.running;
  const absl::Duration wait = ExpectedWait();
  if (waiting >= places) {
    return QueueFull(absl::StrCat(waiting, " requests are waiting; the queue holds ", places),
                     wait / waiting);
  }
  if (const absl::Duration most =
          std::max(std::min(options_.max_wait, patience), absl::ZeroDuration());
      wait > most) {
    return QueueFull(absl::StrCat("a request would wait about ", Rounded(wait),
                                  " before it is read; at most ", Rounded(most), " are taken"),
                     wait - most);
  }
  ++load_.reserved;
  return MakePlace();
}

void EngineImpl::GiveBack() {
  const std::lock_guard lock(mutex_);
  --load_.reserved;
}

absl::Status EngineImpl::Refusal() const {
  if (!draining_) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnavailable,
                   health_.ok() ? std::string("the decoder is stopping")
                                : absl::StrCat("the decoder is stopping: ", health_.message()),
                   {.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
}

absl::Duration EngineImpl::Left(const Sequence& sequence) const {
  const int written = sequence.completion_tokens();
  const int most = MostPositions(sequence) + 1 - sequence.prompt_tokens - written;
  return pace_.Left(sequence.prompt_tokens - std::min(sequence.read, sequence.prompt_tokens), most);
}

// All that is before a newcomer, shared by those that are decoded at once.
absl::Duration EngineImpl::ExpectedWait() const {
  if (load_.running + load_.queued + load_.reserved < options_.max_sequences) {
    return absl::ZeroDuration();
  }
  absl::Duration work = running_left_ + load_.reserved * pace_.Typical();
  for (const auto& sequence : queue_) work += Left(*sequence);
  return work / options_.max_sequences;
}

absl::StatusOr<Engine::Handle> EngineImpl::Submit(Place /*given back when all is done*/,
                                                  EngineRequest request,
                                                  std::shared_ptr<TokenSink> sink) {
  RETURN_IF_ERROR(ValidateRequest(request, {.vocabulary_size = info_.vocabulary_size,
                                            .dim = info_.dim,
                                            .context_length = info_.context_length,
                                            .banned_tokens = special_.banned}));
  std::unique_ptr<Sequence> sequence = MakeSequence(std::move(request), std::move(sink));
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Refusal());
  const Handle handle = next_handle_++;
  sequence->handle = handle;
  live_.insert(handle);
  queue_.push_back(std::move(sequence));
  load_.queued = static_cast<int>(queue_.size());
  wake_.notify_one();
  return handle;
}

std::unique_ptr<Sequence> EngineImpl::MakeSequence(EngineRequest request,
                                                   std::shared_ptr<TokenSink> sink) const {
  std::vector<int32_t> tokens = std::move(request.prompt.tokens);
  for (const SoftRun& run : request.prompt.soft) {
    std::fill_n(tokens.begin() + run.first, run.rows, special_.pad);
  }
  for (int32_t& token : tokens) token = InputId(token);
  Sampler sampler(request.sampling, special_.banned, tokens, request.alternatives);
  const absl::Duration now = SteadyNow(), give_up = now + request.time_limit;
  auto sequence = std::make_unique<Sequence>(Sequence{.request = std::move(request),
                                                      .sink = std::move(sink),
                                                      .sampler = std::move(sampler),
                                                      .tokens = std::move(tokens),
                                                      .submitted = now,
                                                      .give_up = give_up});
  sequence->prompt_tokens = static_cast<int>(sequence->tokens.size());
  sequence->tokens.reserve(MostPositions(*sequence) + 1);
  return sequence;
}

// A placeholder that stands in a prompt or is sampled as a plain token reads as the pad token
// (Gemma4Model.forward).
int32_t EngineImpl::InputId(int32_t token) const {
  return Contains(special_.placeholders, token) ? special_.pad : token;
}

// The last token of an answer is never read.
int EngineImpl::MostPositions(const Sequence& sequence) const {
  const int max_tokens = sequence.request.max_tokens;
  const int room = info_.context_length - sequence.prompt_tokens;
  return sequence.prompt_tokens + (max_tokens == 0 ? room : std::min(room, max_tokens - 1));
}

void EngineImpl::Cancel(Handle handle) {
  const std::lock_guard lock(mutex_);
  if (live_.contains(handle)) cancelled_.insert(handle);
  wake_.notify_one();
}

int EngineImpl::Position(Handle handle) const {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < queue_.size(); ++i) {
    if (queue_[i]->handle == handle) return load_.running + static_cast<int>(i);
  }
  return 0;
}

EngineLoad EngineImpl::load() const {
  const std::lock_guard lock(mutex_);
  EngineLoad load = load_;
  load.expected_wait = ExpectedWait();
  return load;
}

absl::Status EngineImpl::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

void EngineImpl::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = stopping_ = true;
    wake_.notify_one();
  }
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void EngineImpl::Loop() {
  while (WaitForWork()) {
    last_step_ = absl::ToInt64Nanoseconds(SteadyNow());
    EndUnwanted();
    Admit();
    if (!running_.empty()) RunStep();
  }
}

bool EngineImpl::WaitForWork() {
  std::unique_lock lock(mutex_);
  if (!running_.empty() || !queue_.empty()) return true;
  if (stopping_) return false;
  wake_.wait_for(lock, kBeat);
  return true;
}

void EngineImpl::EndUnwanted() {
  const absl::Duration now = SteadyNow();
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
    if (!status.ok()) End(*sequence, std::move(status));
  }
  Sweep();
}

// In order of arrival; a request that does not fit yet holds back those behind it.
void EngineImpl::Admit() {
  const std::lock_guard lock(mutex_);
  while (!queue_.empty()) {
    const std::optional<int> slot = runner_->pool().Reserve(MostPositions(*queue_.front()));
    if (!slot) break;
    Sequence& sequence = *queue_.front();
    sequence.slot = *slot;
    sequence.admitted = SteadyNow();
    sequence.timings.queued = sequence.admitted - sequence.submitted;
    running_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  load_.queued = static_cast<int>(queue_.size());
  load_.running = static_cast<int>(running_.size());
  load_.kv_bytes_used = runner_->KvBytesUsed();
  running_left_ = absl::ZeroDuration();
  for (const auto& sequence : running_) running_left_ += Left(*sequence);
}

void EngineImpl::RunStep() {
  PickWork(running_, options_.chunk, work_);
  parts_.clear();
  int prompt_rows = 0;
  for (const Work& work : work_) {
    const Sequence& s = *work.sequence;
    parts_.push_back({.slot = s.slot,
                      .first = s.read,
                      .tokens = absl::MakeConstSpan(s.tokens).subspan(s.read, work.rows),
                      .soft = s.request.prompt.soft,
                      .logit_rows = work.rows == s.unread() ? 1 : 0});
    if (s.read < s.prompt_tokens) prompt_rows += work.rows;
  }
  const absl::Duration start = SteadyNow();
  absl::StatusOr<absl::Span<float>> logits = runner_->Run(parts_);
  if (!logits.ok()) return FailStep(logits.status());
  {
    const std::lock_guard lock(mutex_);
    pace_.OnStep(prompt_rows, SteadyNow() - start);
  }
  int row = 0;
  for (size_t i = 0; i < work_.size(); ++i) {
    Sequence& sequence = *work_[i].sequence;
    Advance(sequence, work_[i].rows);
    if (parts_[i].logit_rows == 0) continue;
    const size_t vocabulary = info_.vocabulary_size;
    Pick(sequence, logits->subspan(row++ * vocabulary, vocabulary));
  }
  Sweep();
}

// A device that does not recover fails again when asked; whoever hears of the end finds it known.
void EngineImpl::FailStep(const absl::Status& status) {
  const absl::Status error = StepError(status);
  if (const absl::Status again = backend_->Wait(); !again.ok()) {
    Fail(StepError(again));
  } else if (error.code() == absl::StatusCode::kInternal) {
    CountFailure(error);
  }
  for (const Work& work : work_) End(*work.sequence, error);
  Sweep();
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
  const bool reads_prompt = sequence.read < sequence.prompt_tokens;
  sequence.read += rows;
  if (!reads_prompt) return;
  if (sequence.unread() == 0) sequence.timings.prefill = SteadyNow() - sequence.admitted;
  sequence.sink->OnPrefill(sequence.read, sequence.prompt_tokens);
}

// Takes the next token from `logits` and tells the sink.
void EngineImpl::Pick(Sequence& sequence, absl::Span<float> logits) {
  absl::StatusOr<SampledToken> sampled = sequence.sampler.Sample(logits);
  if (!sampled.ok()) {
    // Soft tokens are the client's: large ones may overflow.
    if (sequence.request.prompt.soft.empty()) CountFailure(sampled.status());
    return End(sequence, std::move(sampled).status());
  }
  failures_ = 0;
  const int32_t token = sampled->chosen.token;
  if (sequence.completion_tokens() == 0) {
    sequence.timings.time_to_first_token = SteadyNow() - sequence.submitted;
  }
  if (!sequence.request.ignore_stop_tokens && Contains(special_.stop, token)) {
    return Finish(sequence, EngineFinish::kStopToken, token);
  }
  sequence.tokens.push_back(InputId(token));
  if (!sequence.sink->OnToken(*sampled)) return Finish(sequence, EngineFinish::kSink);
  if (sequence.completion_tokens() == sequence.request.max_tokens) {
    return Finish(sequence, EngineFinish::kMaxTokens);
  }
  if (sequence.read == info_.context_length) Finish(sequence, EngineFinish::kContextFull);
}

void EngineImpl::Finish(Sequence& sequence, EngineFinish finish, int32_t stop_token) {
  sequence.timings.total = SteadyNow() - sequence.submitted;
  End(sequence, EngineResult{.finish = finish,
                             .stop_token = stop_token,
                             .completion_tokens = sequence.completion_tokens(),
                             .timings = sequence.timings});
}

// Gives back what the sequence holds before its sink hears of the end, so that whoever waited for
// the end finds it free.
void EngineImpl::End(Sequence& sequence, absl::StatusOr<EngineResult> result) {
  {
    const std::lock_guard lock(mutex_);
    if (sequence.slot >= 0) {
      runner_->pool().Release(sequence.slot);
      --load_.running;
      load_.kv_bytes_used = runner_->KvBytesUsed();
      pace_.OnEnd(sequence.prompt_tokens, sequence.completion_tokens());
    }
    live_.erase(sequence.handle);
    cancelled_.erase(sequence.handle);
  }
  std::exchange(sequence.sink, nullptr)->OnDone(std::move(result));
}

void EngineImpl::Sweep() {
  std::erase_if(running_, [](const auto& sequence) { return sequence->sink == nullptr; });
}

}  // namespace softsplice
