// See engine_impl.h.
#include "decoder_svc/engine/engine_impl.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/engine/pausing.h"
#include "decoder_svc/engine/validate.h"

namespace softsplice {
namespace {

std::string Rounded(absl::Duration duration) {
  return absl::FormatDuration(absl::Ceil(duration, absl::Milliseconds(100)));
}

absl::Status QueueFull(absl::string_view message, absl::Duration until_room) {
  return MakeError(
      absl::StatusCode::kResourceExhausted, message,
      {.reason = reason::kQueueFull, .retry_after = std::max(until_room, absl::Seconds(1))});
}

}  // namespace

EngineImpl::EngineImpl(std::unique_ptr<Ranks> ranks, ModelInfo info, const EngineOptions& options,
                       SpecialTokens special)
    : ranks_(std::move(ranks)),
      info_(std::move(info)),
      options_(options),
      special_(std::move(special)),
      kv_(ranks_->runner().shape()),
      last_step_(absl::ToInt64Nanoseconds(Now())),
      pace_(options.stall_target) {
  running_.reserve(options.max_sequences);
  able_.reserve(options.max_sequences);
  turns_.reserve(options.max_sequences);
  work_.reserve(options.max_sequences);
  parts_.reserve(options.max_sequences);
  const KvShape& shape = kv_.shape();
  load_.kv_bytes_total = ranks_->runner().KvBytes(shape.full_blocks, shape.sliding_blocks);
}

EngineImpl::~EngineImpl() { Shutdown(); }

void EngineImpl::Start() {
  thread_ = std::thread([this] { Loop(); });
}

std::vector<const SequenceKv*> EngineImpl::Held() const {
  std::vector<const SequenceKv*> held;
  for (const auto& sequence : running_) held.push_back(&*sequence->kv);
  const std::lock_guard lock(mutex_);
  for (const auto& sequence : ahead_) {
    if (sequence->kv) held.push_back(&*sequence->kv);
  }
  return held;
}

absl::StatusOr<Engine::Place> EngineImpl::Reserve(Priority priority, absl::Duration patience) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Refusal(priority, patience));
  return TakePlace(priority);
}

absl::StatusOr<Engine::Place> EngineImpl::ReserveAgain(Priority priority) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Refusal());
  return TakePlace(priority);
}

Engine::Place EngineImpl::TakePlace(Priority priority) {
  ++load_.reserved;
  if (priority == Priority::kBatch) ++batch_reserved_;
  return MakePlace(priority);
}

absl::Status EngineImpl::Room(Priority priority, absl::Duration patience) const {
  const std::lock_guard lock(mutex_);
  return Refusal(priority, patience);
}

void EngineImpl::GiveBack(Priority priority) {
  const std::lock_guard lock(mutex_);
  --load_.reserved;
  if (priority == Priority::kBatch) --batch_reserved_;
}

absl::Status EngineImpl::Refusal() const {
  if (!draining_) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnavailable,
                   health_.ok() ? std::string("the decoder is stopping")
                                : absl::StrCat("the decoder is stopping: ", health_.message()),
                   {.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
}

absl::Status EngineImpl::Refusal(Priority priority, absl::Duration patience) const {
  RETURN_IF_ERROR(Refusal());
  const int waiting = load_.queued + load_.reserved;
  const int all_places = options_.max_queue + options_.max_sequences - load_.running;
  const int places = priority == Priority::kBatch ? (all_places + 1) / 2 : all_places;
  const absl::Duration wait = ExpectedWait(priority);
  if (waiting >= places) {
    return QueueFull(absl::StrCat(waiting, " requests are waiting; the queue holds ", places),
                     wait / waiting);
  }
  const absl::Duration most = std::max(std::min(options_.max_wait, patience), absl::ZeroDuration());
  if (wait <= most) return absl::OkStatus();
  return QueueFull(absl::StrCat("a request would wait about ", Rounded(wait),
                                " before it is read; at most ", Rounded(most), " are taken"),
                   wait - most);
}

Pace::Work EngineImpl::Left(const Sequence& sequence) const {
  const int most = MostPositions(sequence) + 1 - static_cast<int>(sequence.tokens.size());
  return pace_.Left(std::max(sequence.given - sequence.read, 0), most);
}

// All that is before a newcomer.
absl::Duration EngineImpl::ExpectedWait(Priority priority) const {
  int reserved = load_.reserved, queued = 0;
  if (priority == Priority::kNormal) reserved -= batch_reserved_;
  Pace::Work work = running_left_;
  for (int i = 0; i < reserved; ++i) work += pace_.Typical();
  for (const auto& sequence : queue_) {
    if (sequence->priority > priority) continue;
    work += Left(*sequence);
    ++queued;
  }
  if (load_.running + queued + reserved < options_.max_sequences) return absl::ZeroDuration();
  return pace_.TimeFor(work, options_.max_sequences);
}

absl::StatusOr<Engine::Handle> EngineImpl::Submit(Place place, EngineRequest request,
                                                  std::shared_ptr<TokenSink> sink) {
  ASSIGN_OR_RETURN(std::unique_ptr<Sequence> sequence,
                   MakeSequence(place.priority(), std::move(request), std::move(sink)));
  return Enqueue(std::move(sequence), queue_);
}

absl::StatusOr<Engine::Handle> EngineImpl::ReadAhead(Priority priority, EngineRequest beginning,
                                                     std::shared_ptr<TokenSink> sink) {
  if (!beginning.share_cache) {
    return absl::InvalidArgumentError("what is read ahead is for the cache");
  }
  beginning.max_tokens = 1;  // there is no answer to have room for
  ASSIGN_OR_RETURN(std::unique_ptr<Sequence> sequence,
                   MakeSequence(priority, std::move(beginning), std::move(sink)));
  sequence->ahead = true;
  return Enqueue(std::move(sequence), ahead_);
}

absl::StatusOr<Engine::Handle> EngineImpl::Enqueue(std::unique_ptr<Sequence> sequence,
                                                   Queue& queue) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Refusal());
  const Handle handle = next_handle_++;
  sequence->handle = handle;
  live_.insert(handle);
  shares_.Enter(sequence->request.client);
  queue.push_back(std::move(sequence));
  CountQueue();
  Wake();
  return handle;
}

absl::StatusOr<std::unique_ptr<Sequence>> EngineImpl::MakeSequence(
    Priority priority, EngineRequest request, std::shared_ptr<TokenSink> sink) {
  RETURN_IF_ERROR(ValidateRequest(request, {.vocabulary_size = info_.vocabulary_size,
                                            .dim = info_.dim,
                                            .context_length = info_.context_length,
                                            .banned_tokens = special_.banned}));
  std::vector<int32_t> tokens = std::move(request.prompt.tokens);
  for (const SoftRun& run : request.prompt.soft) {
    std::fill_n(tokens.begin() + run.first, run.rows, kMediaToken);
  }
  for (int32_t& token : tokens) token = InputId(token);
  Sampler sampler(request.sampling, special_.banned, tokens, request.alternatives);
  const absl::Duration now = Now(), give_up = now + request.time_limit;
  auto sequence = std::make_unique<Sequence>(Sequence{.request = std::move(request),
                                                      .priority = priority,
                                                      .sink = std::move(sink),
                                                      .sampler = std::move(sampler),
                                                      .tokens = std::move(tokens),
                                                      .submitted = now,
                                                      .give_up = give_up});
  sequence->prompt_tokens = sequence->given = static_cast<int>(sequence->tokens.size());
  sequence->tokens.reserve(MostPositions(*sequence) + 1);
  sequence->contents = ContentsOf(*sequence);
  for (const SoftRun& run : sequence->request.prompt.soft) {
    if (run.values == nullptr) sequence->values_missing_to = run.first + run.rows;
  }
  return sequence;
}

std::vector<Content> EngineImpl::ContentsOf(const Sequence& sequence) {
  std::vector<Content> contents(sequence.tokens.size());
  absl::c_transform(sequence.tokens, contents.begin(), ContentOfToken);
  for (const SoftRun& run : sequence.request.prompt.soft) {
    const uint64_t number = names_.NumberOf(run.name);
    for (int i = 0; i < run.rows; ++i) contents[run.first + i] = ContentOfRow(number, i);
  }
  return contents;
}

// A placeholder that stands in a prompt or is sampled as a plain token reads as media do
// (Gemma4Model.forward).
int32_t EngineImpl::InputId(int32_t token) const {
  return absl::c_linear_search(special_.placeholders, token) ? kMediaToken : token;
}

// The last token of an answer is never read.
int EngineImpl::MostPositions(const Sequence& sequence) const {
  const int max_tokens = sequence.request.max_tokens;
  const int room = info_.context_length - sequence.prompt_tokens;
  return sequence.prompt_tokens + (max_tokens == 0 ? room : std::min(room, max_tokens - 1));
}

// Rows that came without values can't be read again.
int EngineImpl::Promised(const Sequence& sequence) const {
  return PromisedPositions({.given = sequence.given,
                            .most = MostPositions(sequence),
                            .pauses = sequence.pauses,
                            .cannot_return = sequence.values_missing_to > 0});
}

void EngineImpl::Cancel(Handle handle) {
  const std::lock_guard lock(mutex_);
  if (live_.contains(handle)) cancelled_.insert(handle);
  Wake();
}

void EngineImpl::Wake() {
  news_ = true;
  wake_.notify_one();
}

int EngineImpl::Position(Handle handle) const {
  const std::lock_guard lock(mutex_);
  const auto found =
      absl::c_find_if(queue_, [&](const auto& sequence) { return sequence->handle == handle; });
  if (found == queue_.end()) return 0;
  const auto rank = Rank(**found);
  int before = load_.running;
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    const auto other = Rank(**it);
    if (other < rank || (other == rank && it < found)) ++before;
  }
  return before;
}

// One sequence of several is a batch request's, or these would never begin while normal ones come.
// Those that were paused go on before others begin, the oldest first.
std::tuple<bool, bool, int64_t> EngineImpl::Rank(const Sequence& sequence) const {
  const bool batch = sequence.priority == Priority::kBatch;
  const bool batch_first = options_.max_sequences > 1 && load_.running > 0 && batch_running_ == 0;
  const bool paused = sequence.pauses > 0;
  return {batch != batch_first, !paused,
          paused ? static_cast<int64_t>(sequence.handle) : shares_.Spent(sequence.request.client)};
}

EngineLoad EngineImpl::load() const {
  const std::lock_guard lock(mutex_);
  EngineLoad load = load_;
  load.expected_wait = ExpectedWait(Priority::kNormal);
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
    Wake();
  }
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace softsplice
