#include "decoder_svc/server/generate.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/server/duration.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "decoder_svc/server/options.h"

namespace softsplice {
namespace {

// What one message holds about, where several deltas wait.
constexpr uint64_t kMergedBytes = 64 << 10;

// Adds `from` to the end of `to`, as if they had been one.
void Merge(v1::Delta from, v1::Delta* to) {
  to->mutable_text()->append(from.text());
  to->mutable_token_ids()->MergeFrom(from.token_ids());
  for (v1::TokenLogprobs& logprobs : *from.mutable_logprobs()) {
    *to->add_logprobs() = std::move(logprobs);
  }
}

}  // namespace

// The engine's way to the call, which it keeps alive.
class GenerateCall::Sink final : public TokenSink {
 public:
  explicit Sink(std::shared_ptr<GenerateCall> call) : call_(std::move(call)) {}
  void OnAdmitted(int cached) override { call_->OnAdmitted(cached); }
  void OnPrefill(int read, int total) override { call_->OnPrefill(read, total); }
  void OnPaused() override { call_->OnPaused(); }
  bool HasRoom() override { return call_->HasRoom(); }
  bool OnToken(const SampledToken& token) override {
    bool go_on = false;
    call_->Guard([&] { go_on = call_->OnToken(token); });
    return go_on;
  }
  void OnDone(absl::StatusOr<EngineResult> result) override {
    call_->Guard([&] { call_->OnResult(std::move(result)); });
  }

 private:
  const std::shared_ptr<GenerateCall> call_;
};

// Its priority is not known yet: a batch request finds even less room.
absl::Status GenerateCall::Room() const {
  return decoder_.engine.Room(Priority::kNormal, call().time_left());
}

absl::Status GenerateCall::TakeRoom() {
  ASSIGN_OR_RETURN(place_, decoder_.engine.Reserve(Priority::kNormal, call().time_left()));
  return absl::OkStatus();
}

void GenerateCall::Begin(const v1::GenerateRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    counted_.MoveTo(&decoder_.counts.preparing);
    progress_.set_stage(v1::STAGE_PREPARING);
  }
  if (const absl::Status status = Prepare(request); !status.ok()) return Refuse(status);
  BringMedia(engine_request_.share_cache);
}

void GenerateCall::BringMedia(bool take_known) {
  MediaOptions options{.take_known = take_known,
                       .remember = engine_request_.share_cache,
                       .scope = engine_request_.cache_scope,
                       .max_rows = decoder_.engine.info().context_length,
                       .deadline = call().deadline(),
                       .request_id = call().request_id(),
                       .traceparent = call().traceparent()};
  if (engine_request_.share_cache) {
    // The call holds the batch, and not the other way round.
    options.on_beginning = [weak = std::weak_ptr(Self())](std::vector<EncodedMedium> beginning) {
      const std::shared_ptr<GenerateCall> self = weak.lock();
      if (self == nullptr) return;
      self->calls().workers.Add([self, beginning = std::move(beginning)] {
        self->Guard([&] { self->OnBeginning(beginning); });
      });
    };
  }
  auto media = std::make_shared<MediaBatch>(decoder_, sources_, std::move(options));
  {
    const std::lock_guard lock(mutex_);
    if (ended()) return;
    media_ = media;
    counted_.MoveTo(&decoder_.counts.encoding);
    // Still waiting: until the engine reads, another decoder answers as soon.
    if (progress_.media() > 0) progress_.set_stage(v1::STAGE_ENCODING);
  }
  media->Start([self = Self()](absl::StatusOr<std::vector<EncodedMedium>> encoded) {
    // Off the pool's thread: what follows touches every row.
    self->calls().workers.Add([self, encoded = std::move(encoded)]() mutable {
      self->Guard([&] { self->OnMedia(std::move(encoded)); });
    });
  });
}

void GenerateCall::BringAllMedia() {
  {
    const std::lock_guard lock(mutex_);
    if (ended()) return;
    handle_.reset();
    started_.reset();
  }
  places_.clear();
  absl::StatusOr<Engine::Place> place = decoder_.engine.ReserveAgain(priority_);
  if (!place.ok()) return Refuse(place.status());
  place_ = *std::move(place);
  BringMedia(/*take_known=*/false);
}

absl::Status GenerateCall::Prepare(const v1::GenerateRequest& request) {
  ASSIGN_OR_RETURN(engine_request_, ReadOptions(request, decoder_));
  if (request.priority() == v1::PRIORITY_BATCH) {
    priority_ = Priority::kBatch;
    place_ = {};
    ASSIGN_OR_RETURN(place_, decoder_.engine.Reserve(priority_, call().time_left()));
  }
  engine_request_.client = call().caller().key();
  engine_request_.cache_scope = call().caller().Scope(request.cache_salt());
  seed_ = engine_request_.sampling.seed;
  RETURN_IF_ERROR(EnterSession(request));
  ASSIGN_OR_RETURN(PromptPlan plan,
                   PlanPrompt({.chat = request.has_chat() ? &request.chat() : nullptr,
                               .raw = request.has_raw() ? &request.raw() : nullptr,
                               .history = *history_},
                              decoder_));
  RETURN_IF_ERROR(CheckMayFit(plan, decoder_.engine.info().context_length));
  pieces_ = std::move(plan.pieces);
  sources_ = std::move(plan.media);
  answer_ = std::make_unique<Answer>(
      decoder_.tokenizer, std::vector<std::string>(request.stop().begin(), request.stop().end()),
      request.has_logprobs());
  const std::lock_guard lock(mutex_);
  Note({"media", static_cast<int64_t>(sources_.size())});
  progress_.set_media(sources_.size());
  return absl::OkStatus();
}

absl::Status GenerateCall::EnterSession(const v1::GenerateRequest& request) {
  if (request.session_id().empty()) return absl::OkStatus();
  if (!request.has_chat() || request.chat().messages().empty()) {
    return InvalidField("chat", "in a session, chat holds the new turns: there must be one");
  }
  uint64_t bytes = 0;
  for (const v1::Message& message : request.chat().messages()) bytes += BytesOf(message);
  ASSIGN_OR_RETURN(Sessions::Turn turn,
                   decoder_.sessions.Begin(call().caller(), request.session_id(), bytes));
  if (!request.cache_salt().empty() && request.cache_salt() != turn.salt()) {
    return InvalidField("cache_salt", "cache_salt is not the session's");
  }
  engine_request_.cache_scope = call().caller().Scope(turn.salt());
  history_ = turn.history();
  const std::lock_guard lock(mutex_);
  if (!ended()) turn_ = std::move(turn);
  return absl::OkStatus();
}

void GenerateCall::Refuse(const absl::Status& status) {
  place_ = {};
  std::unique_lock lock(mutex_);
  turn_ = {};
  End(status, std::move(lock));
}

// What was asked and what the client has been told of the answer.
void GenerateCall::CommitTurn() {
  std::vector<v1::Message> messages;
  for (v1::Message& message : *mutable_request().mutable_chat()->mutable_messages()) {
    messages.push_back(std::move(message));
  }
  v1::Message& answer = messages.emplace_back();
  answer.set_role(v1::ROLE_MODEL);
  answer.add_parts()->set_text(std::move(answer_text_));
  turn_.Commit(std::move(messages));
  turn_ = {};
}

void GenerateCall::OnBeginning(const std::vector<EncodedMedium>& media) {
  {
    const std::lock_guard lock(mutex_);
    if (ended()) return;
  }
  EngineRequest beginning = engine_request_;
  beginning.prompt = BuildPrompt(pieces_, media, decoder_.tokenizer);
  beginning.time_limit = call().time_left();
  ahead_->Read(priority_, std::move(beginning));
}

void GenerateCall::OnMedia(absl::StatusOr<std::vector<EncodedMedium>> media) {
  if (!media.ok()) return Refuse(media.status());
  {
    const std::lock_guard lock(mutex_);
    if (ended()) return;
  }
  encode_ = call().elapsed();
  if (const absl::Status status = Submit(*media); !status.ok()) Refuse(status);
}

absl::Status GenerateCall::Submit(const std::vector<EncodedMedium>& media) {
  ahead_->Stop();
  EngineRequest request = engine_request_;
  request.prompt = BuildPrompt(pieces_, media, decoder_.tokenizer);
  request.time_limit = call().time_left();
  prompt_tokens_ = static_cast<int>(request.prompt.tokens.size());
  auto run = request.prompt.soft.begin();
  for (size_t i = 0; i < media.size(); ++i) {
    for (size_t n = 0; n < media[i].runs.size(); ++n, ++run) {
      places_.push_back({static_cast<int>(i), run->first, run->rows});
    }
  }
  {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(lease().Grow(request.prompt.tokens.size() * kBytesPerPromptToken));
    Note({"prompt_tokens", prompt_tokens_});
    counted_.MoveTo(nullptr);
    progress_.set_stage(v1::STAGE_QUEUED);
    progress_.set_prompt_tokens(prompt_tokens_);
    started_ = MakeStarted(media);
  }
  record_.Submitted(media, prompt_tokens_);
  ASSIGN_OR_RETURN(const Engine::Handle handle,
                   decoder_.engine.Submit(std::move(place_), std::move(request),
                                          std::make_shared<Sink>(Self())));
  bool over = false;  // since before there was a handle
  {
    const std::lock_guard lock(mutex_);
    handle_ = handle;
    over = ended();
  }
  if (over) decoder_.engine.Cancel(handle);
  return absl::OkStatus();
}

v1::Started GenerateCall::MakeStarted(const std::vector<EncodedMedium>& media) const {
  v1::Started started;
  started.set_request_id(call().request_id());
  started.set_prompt_tokens(prompt_tokens_);
  started.set_seed(seed_);
  for (const EncodedMedium& medium : media) {
    v1::MediaUse* use = started.add_media();
    *use->mutable_header() = medium.header;
    SetDuration(medium.encode, use->mutable_encode());
    use->set_encoder_cache_hit(medium.cache_hit);
  }
  return started;
}

void GenerateCall::Begun() {
  begun_ = true;
  progress_.set_stage(v1::STAGE_UNSPECIFIED);
  Working();
}

void GenerateCall::OnAdmitted(int cached) {
  const std::lock_guard lock(mutex_);
  cached_ = ahead_->CachedBefore(cached);
  record_.Admitted(cached_);
  Note({"cached_tokens", cached_});
  if (cached > cached_) Note({"read_ahead", cached - cached_});
  if (!started_) return;
  started_->set_cached_tokens(cached_);
  for (const MediumPlace& place : places_) {
    const int rows = std::clamp(cached_ - place.first, 0, place.rows);
    v1::MediaUse* use = started_->mutable_media(place.medium);
    use->set_rows_cached(use->rows_cached() + rows);
  }
}

void GenerateCall::OnPrefill(int read, int /*total*/) {
  std::unique_lock lock(mutex_);
  Begun();
  progress_.set_stage(v1::STAGE_READING);
  progress_.set_prompt_tokens_read(read);
  GoOn(std::move(lock));
}

void GenerateCall::OnPaused() {
  const std::lock_guard lock(mutex_);
  progress_.set_stage(v1::STAGE_QUEUED);
}

bool GenerateCall::HasRoom() {
  const std::lock_guard lock(mutex_);
  full_ = unread_bytes_ > (full_ ? kFewUnreadBytes : kMostUnreadBytes);
  return !full_;
}

bool GenerateCall::OnToken(const SampledToken& token) {
  record_.Token(call().elapsed());
  std::vector<v1::Delta> deltas = answer_->Push(token);
  std::unique_lock lock(mutex_);
  if (ended()) return false;
  Begun();
  if (const absl::Status status = Queue(std::move(deltas)); !status.ok()) {
    Abandon(status, std::move(lock));
    return false;
  }
  GoOn(std::move(lock));
  return !answer_->stopped();
}

void GenerateCall::OnResult(absl::StatusOr<EngineResult> result) {
  if (absl::IsAborted(result.status())) {
    calls().workers.Add([self = Self()] { self->Guard([&] { self->BringAllMedia(); }); });
    return;
  }
  if (!result.ok()) {
    // Who does not read would not read the rest, either.
    const bool reads = GetErrorDetail(result.status()).reason != reason::kClientTooSlow;
    return reads ? Refuse(result.status()) : Abandon(result.status());
  }
  std::vector<v1::Delta> deltas = answer_->Finish();
  std::unique_lock lock(mutex_);
  if (ended()) return;  // as the client wanted: its session stands where it stood
  result->cached_tokens = cached_;
  v1::Finished finished = MakeFinished(*result);
  record_.Finished(finished.reason());
  Begun();
  counted_.MoveTo(&decoder_.counts.unread);
  if (const absl::Status status = Queue(std::move(deltas)); !status.ok()) {
    return End(status, std::move(lock));
  }
  if (turn_) CommitTurn();
  finished_ = std::move(finished);
  Note({"completion_tokens", result->completion_tokens});
  if (result->pauses > 0) Note({"pauses", result->pauses});
  Note(DurationField("queued", result->timings.queued));
  Note(DurationField("encode", encode_));
  Note(DurationField("prefill", result->timings.prefill));
  Note(DurationField("time_to_first_token", encode_ + result->timings.time_to_first_token));
  End(absl::OkStatus(), std::move(lock));
}

v1::Finished GenerateCall::MakeFinished(const EngineResult& result) {
  v1::Finished finished = answer_->Summary(result, prompt_tokens_);
  v1::GenerateTimings* timings = finished.mutable_timings();
  SetDuration(result.timings.queued, timings->mutable_queued());
  SetDuration(encode_, timings->mutable_encode());
  SetDuration(result.timings.prefill, timings->mutable_prefill());
  SetDuration(encode_ + result.timings.time_to_first_token, timings->mutable_time_to_first_token());
  SetDuration(call().elapsed(), timings->mutable_total());
  return finished;
}

absl::Status GenerateCall::Queue(std::vector<v1::Delta> deltas) {
  for (v1::Delta& delta : deltas) {
    record_.Wrote(delta);
    const uint64_t bytes = delta.SpaceUsedLong();
    RETURN_IF_ERROR(lease().Grow(bytes));
    if (turn_ && delta.channel() == v1::CHANNEL_ANSWER) answer_text_ += delta.text();
    unread_bytes_ += bytes;
    if (!deltas_.empty() && deltas_.back().channel() == delta.channel() &&
        deltas_.back().ByteSizeLong() + delta.ByteSizeLong() <= kMergedBytes) {
      Merge(std::move(delta), &deltas_.back());
    } else {
      deltas_.push_back(std::move(delta));
    }
  }
  return absl::OkStatus();
}

bool GenerateCall::Next(v1::GenerateResponse* message) {
  if (begun_ && started_) {
    *message->mutable_started() = *std::exchange(started_, std::nullopt);
    return true;
  }
  if (!deltas_.empty()) {
    *message->mutable_delta() = std::move(deltas_.front());
    deltas_.pop_front();
    const uint64_t left =
        deltas_.empty()
            ? 0
            : unread_bytes_ - std::min<uint64_t>(unread_bytes_, message->delta().SpaceUsedLong());
    lease().Shrink(unread_bytes_ - left);
    unread_bytes_ = left;
    return true;
  }
  if (finished_) {
    *message->mutable_finished() = *std::exchange(finished_, std::nullopt);
    return true;
  }
  if (progress_.stage() == v1::STAGE_UNSPECIFIED || ended() || !TimeForNews()) return false;
  if (progress_.stage() == v1::STAGE_QUEUED && handle_) {
    progress_.set_queue_position(decoder_.engine.Position(*handle_));
  }
  if (media_ != nullptr) progress_.set_media_encoded(media_->encoded());
  *message->mutable_progress() = progress_;
  return true;
}

void GenerateCall::Stop() {
  std::shared_ptr<MediaBatch> media;
  std::optional<Engine::Handle> handle;
  {
    const std::lock_guard lock(mutex_);
    media = media_;
    handle = handle_;
    turn_ = {};
    if (dropped()) {
      deltas_.clear();
      lease().Shrink(std::exchange(unread_bytes_, 0));
    }
  }
  if (media != nullptr) media->Cancel();
  ahead_->Stop();
  if (handle.has_value()) decoder_.engine.Cancel(*handle);
}

}  // namespace softsplice
