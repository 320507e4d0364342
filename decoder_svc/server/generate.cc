#include "decoder_svc/server/generate.h"

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/server/call.h"
#include "common/server/duration.h"
#include "common/status/macros.h"
#include "decoder_svc/server/answer.h"
#include "decoder_svc/server/media.h"
#include "decoder_svc/server/options.h"
#include "decoder_svc/server/prompt.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {
namespace {

// Check, encode the media, submit, pass on. The engine's thread puts messages into a queue (as long
// as the answer at most, so the context bounds it) and never waits for the client; one message is
// being written at a time. The call ends only after the media and the engine are done with it.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  GenerateCall(Call call, const v1::GenerateRequest& request, const DecoderContext& decoder)
      : call_(std::move(call)),
        request_(request),
        decoder_(decoder),
        answer_(decoder.tokenizer, {request.stop().begin(), request.stop().end()},
                request.has_logprobs()) {}

  void Start();

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // The engine's way to the call; may live longer than it, but is not called any more then.
  class Sink final : public TokenSink {
   public:
    explicit Sink(GenerateCall* call) : call_(call) {}
    bool OnToken(const SampledToken& token) override { return call_->OnToken(token); }
    void OnDone(absl::StatusOr<EngineResult> result) override {
      call_->OnResult(std::move(result));
    }

   private:
    GenerateCall* const call_;
  };

  absl::Status Prepare();
  void OnMedia(absl::StatusOr<std::vector<EncodedMedium>> media);
  absl::Status Submit(const std::vector<EncodedMedium>& media);
  v1::GenerateResponse StartedMessage(const std::vector<EncodedMedium>& media) const;
  bool OnToken(const SampledToken& token);
  void OnResult(absl::StatusOr<EngineResult> result);
  v1::GenerateResponse FinishedMessage(const EngineResult& result);

  void Queue(std::vector<v1::Delta> deltas);
  // Nothing more comes: the call ends with `status` once the queue is written.
  void End(const absl::Status& status);
  // Writes the next message, or ends the call, if it is time to. `lock` has been held since what is
  // new was noted: were it let go in between, another thread could end the call, and this object
  // with it. It may be gone afterwards.
  void Pump(std::unique_lock<std::mutex> lock);
  void Stop();

  Call call_;
  const v1::GenerateRequest& request_;
  const DecoderContext& decoder_;
  Answer answer_;  // the engine's thread's, once submitted
  EngineRequest engine_request_;
  Engine::Place place_;
  std::vector<PromptPiece> pieces_;
  int prompt_tokens_ = 0;
  absl::Duration encode_;
  std::shared_ptr<MediaBatch> media_;

  std::mutex mutex_;
  std::deque<v1::GenerateResponse> queue_;
  bool held_ = false;     // nothing is written before the engine took the request
  bool writing_ = false;  // current_ is under way
  bool stopped_ = false;  // the client is gone
  std::optional<Engine::Handle> handle_;
  std::optional<absl::Status> status_;  // how the call ends
  v1::GenerateResponse current_;
};

void GenerateCall::Start() {
  if (const absl::Status status = Prepare(); !status.ok()) return End(status);
  media_->Start(
      [this](absl::StatusOr<std::vector<EncodedMedium>> media) { OnMedia(std::move(media)); });
}

absl::Status GenerateCall::Prepare() {
  ASSIGN_OR_RETURN(engine_request_, ReadOptions(request_, decoder_));
  ASSIGN_OR_RETURN(PromptPlan plan,
                   PlanPrompt(request_.has_chat() ? &request_.chat() : nullptr,
                              request_.has_raw() ? &request_.raw() : nullptr, decoder_));
  RETURN_IF_ERROR(CheckMayFit(plan, decoder_.engine.info().context_length));
  // Before the media are encoded, which costs the most.
  ASSIGN_OR_RETURN(place_, decoder_.engine.Reserve(call_.deadline() - absl::Now()));
  pieces_ = std::move(plan.pieces);
  call_.Note({"media", static_cast<int64_t>(plan.media.size())});
  media_ =
      std::make_shared<MediaBatch>(decoder_, std::move(plan.media),
                                   MediaOptions{.max_rows = decoder_.engine.info().context_length,
                                                .deadline = call_.deadline(),
                                                .request_id = call_.request_id(),
                                                .traceparent = call_.traceparent()});
  return absl::OkStatus();
}

void GenerateCall::OnMedia(absl::StatusOr<std::vector<EncodedMedium>> media) {
  if (!media.ok()) return End(media.status());
  encode_ = call_.elapsed();
  if (const absl::Status status = Submit(*media); !status.ok()) End(status);
}

absl::Status GenerateCall::Submit(const std::vector<EncodedMedium>& media) {
  std::vector<MediumRows> rows;
  for (const EncodedMedium& medium : media) rows.push_back(RowsOf(medium));
  engine_request_.prompt = BuildPrompt(pieces_, rows, decoder_.tokenizer);
  engine_request_.time_limit = call_.deadline() - absl::Now();
  prompt_tokens_ = static_cast<int>(engine_request_.prompt.tokens.size());
  call_.Note({"prompt_tokens", prompt_tokens_});
  {
    // Before the engine's first token, but not on its way before the engine said yes.
    const std::lock_guard lock(mutex_);
    held_ = true;
    queue_.push_back(StartedMessage(media));
  }
  const auto handle = decoder_.engine.Submit(std::move(place_), std::move(engine_request_),
                                             std::make_shared<Sink>(this));
  std::unique_lock lock(mutex_);
  held_ = false;
  if (!handle.ok()) {
    queue_.clear();
    return handle.status();
  }
  handle_ = *handle;
  const bool stopped = stopped_;
  Engine& engine = decoder_.engine;
  Pump(std::move(lock));
  if (stopped) engine.Cancel(*handle);
  return absl::OkStatus();
}

v1::GenerateResponse GenerateCall::StartedMessage(const std::vector<EncodedMedium>& media) const {
  v1::GenerateResponse message;
  v1::Started* started = message.mutable_started();
  started->set_request_id(call_.request_id());
  started->set_prompt_tokens(prompt_tokens_);
  for (const EncodedMedium& medium : media) {
    v1::MediaUse* use = started->add_media();
    *use->mutable_header() = medium.header;
    SetDuration(medium.encode, use->mutable_encode());
    use->set_encoder_cache_hit(medium.cache_hit);
  }
  return message;
}

bool GenerateCall::OnToken(const SampledToken& token) {
  Queue(answer_.Push(token));
  return !answer_.stopped();
}

void GenerateCall::OnResult(absl::StatusOr<EngineResult> result) {
  if (!result.ok()) return End(result.status());
  Queue(answer_.Finish());
  v1::GenerateResponse finished = FinishedMessage(*result);
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(finished));
  }
  End(absl::OkStatus());
}

v1::GenerateResponse GenerateCall::FinishedMessage(const EngineResult& result) {
  v1::GenerateResponse message;
  v1::Finished* finished = message.mutable_finished();
  *finished = answer_.Summary(result, prompt_tokens_);
  v1::GenerateTimings* timings = finished->mutable_timings();
  SetDuration(result.timings.queued, timings->mutable_queued());
  SetDuration(encode_, timings->mutable_encode());
  SetDuration(result.timings.prefill, timings->mutable_prefill());
  const absl::Duration to_first = encode_ + result.timings.time_to_first_token;
  SetDuration(to_first, timings->mutable_time_to_first_token());
  SetDuration(call_.elapsed(), timings->mutable_total());
  call_.Note({"completion_tokens", result.completion_tokens});
  call_.Note(DurationField("queued", result.timings.queued));
  call_.Note(DurationField("encode", encode_));
  call_.Note(DurationField("prefill", result.timings.prefill));
  call_.Note(DurationField("time_to_first_token", to_first));
  return message;
}

void GenerateCall::Queue(std::vector<v1::Delta> deltas) {
  if (deltas.empty()) return;
  std::unique_lock lock(mutex_);
  for (v1::Delta& delta : deltas) *queue_.emplace_back().mutable_delta() = std::move(delta);
  Pump(std::move(lock));
}

void GenerateCall::End(const absl::Status& status) {
  std::unique_lock lock(mutex_);
  status_ = status;
  Pump(std::move(lock));
}

void GenerateCall::Pump(std::unique_lock<std::mutex> lock) {
  if (held_ || writing_) return;
  if (stopped_) queue_.clear();
  if (!queue_.empty()) {
    current_ = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    lock.unlock();
    return StartWrite(&current_);
  }
  if (!status_.has_value()) return;
  writing_ = true;  // nothing comes after this
  const grpc::Status status = call_.End(*status_);
  lock.unlock();
  Finish(status);
}

void GenerateCall::OnWriteDone(bool ok) {
  // gRPC calls OnDone only after this returned.
  if (!ok) Stop();
  std::unique_lock lock(mutex_);
  writing_ = false;
  Pump(std::move(lock));
}

void GenerateCall::OnCancel() { Stop(); }

void GenerateCall::Stop() {
  std::optional<Engine::Handle> handle;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    handle = handle_;
  }
  if (media_ != nullptr) media_->Cancel();
  if (handle.has_value()) decoder_.engine.Cancel(*handle);
}

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* StartGenerate(grpc::CallbackServerContext* context,
                                                              const v1::GenerateRequest& request,
                                                              const DecoderContext& decoder) {
  auto* call = new GenerateCall(Call(context, decoder.logger, "DecoderService", "Generate"),
                                request, decoder);
  call->Start();
  return call;
}

}  // namespace softsplice
