// See engine_impl.h.
#include "decoder_svc/engine/engine_impl.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/validate.h"

namespace softsplice {
namespace {

// How often an idle engine says that it lives.
constexpr absl::Duration kBeat = absl::Milliseconds(100);

bool Contains(const std::vector<int32_t>& tokens, int32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

absl::Status Cancelled() {
  return MakeError(absl::StatusCode::kCancelled, "the request was cancelled",
                   {.reason = reason::kCancelled});
}

absl::Status DeadlineExceeded() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "the request's deadline has passed",
                   {.reason = reason::kDeadlineExceeded});
}

absl::Status ShuttingDown() {
  return MakeError(absl::StatusCode::kUnavailable, "the decoder is shutting down",
                   {.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
}

}  // namespace

EngineImpl::EngineImpl(std::unique_ptr<Backend> backend, std::unique_ptr<Runner> runner,
                       ModelInfo info, const EngineOptions& options, SpecialTokens special)
    : backend_(std::move(backend)),
      runner_(std::move(runner)),
      info_(std::move(info)),
      options_(options),
      special_(std::move(special)),
      last_step_(absl::ToUnixNanos(absl::Now())) {
  running_.reserve(options.max_sequences);
  work_.reserve(options.max_sequences);
  parts_.reserve(options.max_sequences);
  load_.kv_bytes_total = runner_->KvBytesTotal();
  thread_ = std::thread([this] { Loop(); });
}

EngineImpl::~EngineImpl() { Shutdown(absl::InfinitePast()); }

absl::StatusOr<Engine::Handle> EngineImpl::Submit(EngineRequest request,
                                                  std::shared_ptr<TokenSink> sink) {
  RETURN_IF_ERROR(ValidateRequest(request, {.vocabulary_size = info_.vocabulary_size,
                                            .dim = info_.dim,
                                            .context_length = info_.context_length,
                                            .banned_tokens = special_.banned}));
  std::unique_ptr<Sequence> sequence = MakeSequence(std::move(request), std::move(sink));
  absl::MutexLock lock(&mutex_);
  if (draining_) return ShuttingDown();
  const int free_slots = options_.max_sequences - load_.running;
  if (static_cast<int>(queue_.size()) >= options_.max_queue + free_slots) {
    return MakeError(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat(queue_.size(), " requests are waiting; the queue holds ", options_.max_queue),
        {.reason = reason::kQueueFull, .retry_after = retry_after_});
  }
  const Handle handle = next_handle_++;
  sequence->handle = handle;
  live_.insert(handle);
  queue_.push_back(std::move(sequence));
  load_.queued = static_cast<int>(queue_.size());
  wake_.Signal();
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
  auto sequence = std::make_unique<Sequence>(Sequence{.request = std::move(request),
                                                      .sink = std::move(sink),
                                                      .sampler = std::move(sampler),
                                                      .tokens = std::move(tokens),
                                                      .submitted = absl::Now()});
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
  absl::MutexLock lock(&mutex_);
  if (live_.contains(handle)) cancelled_.insert(handle);
  wake_.Signal();
}

EngineLoad EngineImpl::load() const {
  absl::MutexLock lock(&mutex_);
  return load_;
}

void EngineImpl::Shutdown(absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    shutdown_at_ = std::min(shutdown_at_, deadline);
    wake_.Signal();
  }
  absl::MutexLock lock(&join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void EngineImpl::Loop() {
  while (WaitForWork()) {
    last_step_ = absl::ToUnixNanos(absl::Now());
    EndUnwanted();
    Admit();
    if (!running_.empty()) RunStep();
  }
}

bool EngineImpl::WaitForWork() {
  absl::MutexLock lock(&mutex_);
  if (!running_.empty() || !queue_.empty()) return true;
  if (draining_) return false;
  wake_.WaitWithTimeout(&mutex_, kBeat);
  return true;
}

void EngineImpl::EndUnwanted() {
  const absl::Time now = absl::Now();
  std::vector<std::unique_ptr<Sequence>> unwanted;
  absl::flat_hash_set<Handle> cancelled;
  bool shut_down = false;
  const auto verdict = [&](const Sequence& sequence) {
    if (cancelled.contains(sequence.handle)) return Cancelled();
    if (now >= sequence.request.deadline) return DeadlineExceeded();
    return shut_down ? ShuttingDown() : absl::OkStatus();
  };
  {
    absl::MutexLock lock(&mutex_);
    cancelled.swap(cancelled_);
    shut_down = now >= shutdown_at_;
    for (auto& sequence : queue_) {
      if (!verdict(*sequence).ok()) unwanted.push_back(std::move(sequence));
    }
    std::erase(queue_, nullptr);
    load_.queued = static_cast<int>(queue_.size());
  }
  for (auto& sequence : unwanted) End(*sequence, verdict(*sequence));
  for (auto& sequence : running_) {
    if (absl::Status status = verdict(*sequence); !status.ok()) End(*sequence, std::move(status));
  }
  Sweep();
}

// In order of arrival; a request that does not fit yet holds back those behind it.
void EngineImpl::Admit() {
  absl::MutexLock lock(&mutex_);
  while (!queue_.empty()) {
    const std::optional<int> slot = runner_->pool().Reserve(MostPositions(*queue_.front()));
    if (!slot) break;
    Sequence& sequence = *queue_.front();
    sequence.slot = *slot;
    sequence.admitted = absl::Now();
    sequence.timings.queued = sequence.admitted - sequence.submitted;
    running_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  load_.queued = static_cast<int>(queue_.size());
  load_.running = static_cast<int>(running_.size());
  load_.kv_bytes_used = runner_->KvBytesUsed();
}

void EngineImpl::RunStep() {
  PickWork(running_, options_.chunk, work_);
  parts_.clear();
  for (const Work& work : work_) {
    const Sequence& s = *work.sequence;
    parts_.push_back({.slot = s.slot,
                      .first = s.read,
                      .tokens = absl::MakeConstSpan(s.tokens).subspan(s.read, work.rows),
                      .soft = s.request.prompt.soft,
                      .logit_rows = work.rows == s.unread() ? 1 : 0});
  }
  absl::StatusOr<absl::Span<float>> logits = runner_->Run(parts_);
  int row = 0;
  for (size_t i = 0; i < work_.size(); ++i) {
    Sequence& sequence = *work_[i].sequence;
    if (!logits.ok()) {
      End(sequence, MakeError(absl::StatusCode::kInternal, logits.status().message(),
                              {.reason = reason::kDeviceError}));
      continue;
    }
    Advance(sequence, work_[i].rows);
    if (parts_[i].logit_rows == 0) continue;
    const size_t vocabulary = info_.vocabulary_size;
    Pick(sequence, logits->subspan(row++ * vocabulary, vocabulary));
  }
  Sweep();
}

void EngineImpl::Advance(Sequence& sequence, int rows) {
  const bool reads_prompt = sequence.read < sequence.prompt_tokens;
  sequence.read += rows;
  if (!reads_prompt) return;
  if (sequence.unread() == 0) sequence.timings.prefill = absl::Now() - sequence.admitted;
  sequence.sink->OnPrefill(sequence.read, sequence.prompt_tokens);
}

// Takes the next token from `logits` and tells the sink.
void EngineImpl::Pick(Sequence& sequence, absl::Span<float> logits) {
  absl::StatusOr<SampledToken> sampled = sequence.sampler.Sample(logits);
  if (!sampled.ok()) return End(sequence, std::move(sampled).status());
  const int32_t token = sampled->chosen.token;
  if (sequence.completion_tokens() == 0) {
    sequence.timings.time_to_first_token = absl::Now() - sequence.submitted;
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
  sequence.timings.total = absl::Now() - sequence.submitted;
  End(sequence, EngineResult{.finish = finish,
                             .stop_token = stop_token,
                             .completion_tokens = sequence.completion_tokens(),
                             .timings = sequence.timings});
}

// Gives back what the sequence holds before its sink hears of the end, so that whoever waited for
// the end finds it free.
void EngineImpl::End(Sequence& sequence, absl::StatusOr<EngineResult> result) {
  {
    absl::MutexLock lock(&mutex_);
    if (sequence.slot >= 0) {
      runner_->pool().Release(sequence.slot);
      --load_.running;
      load_.kv_bytes_used = runner_->KvBytesUsed();
      retry_after_ =
          std::clamp(absl::Now() - sequence.admitted, absl::Seconds(1), absl::Seconds(30));
    }
    live_.erase(sequence.handle);
    cancelled_.erase(sequence.handle);
  }
  std::exchange(sequence.sink, nullptr)->OnDone(std::move(result));
}

void EngineImpl::Sweep() {
  std::erase_if(running_, [](const auto& sequence) { return sequence->sink == nullptr; });
}

namespace {

absl::Status ValidateOptions(const EngineOptions& options, const TextConfig& config) {
  const auto check = [](absl::string_view field, int value, int low, int high) {
    if (value >= low && value <= high) return absl::OkStatus();
    return InvalidField(field,
                        absl::StrCat(field, " is ", value, "; must be from ", low, " to ", high));
  };
  constexpr int kMax = 1 << 20;
  RETURN_IF_ERROR(check("context_length", options.context_length, 1, config.context_length));
  RETURN_IF_ERROR(check("chunk", options.chunk, 1, kMax));
  // All positions together are counted in an int.
  RETURN_IF_ERROR(
      check("max_sequences", options.max_sequences, 1, (1 << 30) / options.context_length));
  return check("max_queue", options.max_queue, 1, kMax);
}

// One real step, so that a model that can't work fails now and not at the first request.
absl::Status WarmUp(Runner& runner, int32_t token) {
  const std::optional<int> slot = runner.pool().Reserve(1);
  absl::StatusOr<absl::Span<float>> logits =
      runner.Run({{.slot = *slot, .tokens = absl::MakeConstSpan(&token, 1), .logit_rows = 1}});
  runner.pool().Release(*slot);
  RETURN_IF_ERROR(logits.status());
  return Sampler({.temperature = 0}, {}, {}, 0).Sample(*logits).status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Load(const gguf::File& file,
                                                     const EngineOptions& options,
                                                     std::vector<int32_t> stop_tokens,
                                                     std::vector<int32_t> banned_tokens,
                                                     int32_t pad_token,
                                                     std::vector<int32_t> placeholder_tokens) {
  ASSIGN_OR_RETURN(const TextConfig config, TextConfig::FromGguf(file));
  RETURN_IF_ERROR(ValidateOptions(options, config));
  SpecialTokens special{std::move(stop_tokens), std::move(banned_tokens),
                        std::move(placeholder_tokens), pad_token};
  if (pad_token < 0 || pad_token >= config.vocab) {
    return InvalidFile(file.path(), absl::StrCat("the pad token ", pad_token,
                                                 " is not in the vocabulary of ", config.vocab));
  }
  ASSIGN_OR_RETURN(auto backend, MakeBackend(options.backend));
  ASSIGN_OR_RETURN(auto runner, Runner::Make(file, *backend,
                                             {.context_length = options.context_length,
                                              .chunk = options.chunk,
                                              .max_sequences = options.max_sequences,
                                              .max_rows = options.chunk + options.max_sequences - 1,
                                              .max_logit_rows = options.max_sequences,
                                              .kv_f32 = options.kv_f32}));
  RETURN_IF_ERROR(WarmUp(*runner, pad_token));
  ModelInfo info{.name = file.String("general.name").value_or("gemma4"),
                 .backend = backend->Name(),
                 .dim = config.dim,
                 .vocabulary_size = config.vocab,
                 .context_length = options.context_length};
  return std::make_unique<EngineImpl>(std::move(backend), std::move(runner), std::move(info),
                                      options, std::move(special));
}

}  // namespace softsplice
