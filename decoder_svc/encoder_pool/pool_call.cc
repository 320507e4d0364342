#include "decoder_svc/encoder_pool/pool_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/server/call.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

// What sets the calls apart.
void Fill(const EncodeJob& job, v1::EncodeImageRequest* request) {
  request->set_max_soft_tokens(job.max_soft_tokens);
}
void Fill(const EncodeJob& /*job*/, v1::EncodeAudioRequest* /*request*/) {}
void Fill(const EncodeJob& job, v1::EncodeVideoRequest* request) {
  request->set_max_soft_tokens(job.max_soft_tokens);
  request->set_max_frames(job.max_frames);
  request->set_without_sound(job.without_sound);
}

void StartStream(v1::EncoderService::Stub& stub, grpc::ClientContext* context,
                 const v1::EncodeImageRequest& request,
                 grpc::ClientReadReactor<v1::EncodeImageResponse>* reactor) {
  stub.async()->EncodeImage(context, &request, reactor);
}
void StartStream(v1::EncoderService::Stub& stub, grpc::ClientContext* context,
                 const v1::EncodeAudioRequest& request,
                 grpc::ClientReadReactor<v1::EncodeAudioResponse>* reactor) {
  stub.async()->EncodeAudio(context, &request, reactor);
}
void StartStream(v1::EncoderService::Stub& stub, grpc::ClientContext* context,
                 const v1::EncodeVideoRequest& request,
                 grpc::ClientReadReactor<v1::EncodeVideoResponse>* reactor) {
  stub.async()->EncodeVideo(context, &request, reactor);
}

}  // namespace

// One stream from one encoder.
class PoolCall::Attempt {
 public:
  Attempt(std::shared_ptr<PoolCall> call, std::shared_ptr<Target> target)
      : call_(std::move(call)),
        target_(std::move(target)),
        collector_({.dim = call_->pool_->options_.dim, .fingerprint = call_->pool_->fingerprint()},
                   call_->job_.wanted) {
    const absl::Duration left = call_->deadline() - SteadyNow();
    context_.set_deadline(gpr_time_from_nanos(absl::ToInt64Nanoseconds(left), GPR_TIMESPAN));
    context_.AddMetadata(kRequestIdHeader, call_->job_.request_id);
    if (!call_->job_.traceparent.empty()) {
      context_.AddMetadata(kTraceparentHeader, call_->job_.traceparent);
    }
  }
  virtual ~Attempt() = default;

  virtual void Start() = 0;
  void Cancel() { context_.TryCancel(); }
  void Leave(const Target& target, Why why) {
    if (&target != target_.get()) return;
    (why == Why::kSlow ? slow_ : silent_) = true;
    context_.TryCancel();
  }

 protected:
  // The next message; an error ends the stream.
  template <class Response>
  absl::Status Take(const Response& message) {
    call_->Hear();
    const size_t complete = collector_.complete();
    status_ = collector_.Add(message);
    if (!status_.ok()) return status_;
    if (collector_.complete() > complete) call_->TellRuns(collector_.so_far());
    if (!message.has_header()) return status_;
    status_ = call_->CheckRows(message.header());
    if (!status_.ok()) return status_;
    status_ = call_->TellHeader(message.header());
    final_ = !status_.ok();
    return status_;
  }
  // Ends this object's life.
  void End(const absl::Status& status) {
    const std::shared_ptr<PoolCall> call = std::move(call_);
    call->OnAttempt(target_, Result(status));
  }

  std::shared_ptr<PoolCall> call_;
  const std::shared_ptr<Target> target_;
  grpc::ClientContext context_;

 private:
  Outcome Result(const absl::Status& status) {
    if (!status_.ok()) return {status_, final_};
    if (silent_) return {absl::UnavailableError("it does not answer")};
    if (slow_) return {absl::DeadlineExceededError("it takes too long")};
    if (absl::IsDeadlineExceeded(status)) {
      return {MakeError(absl::StatusCode::kDeadlineExceeded,
                        "the deadline has passed while an encoder was at it",
                        {.reason = reason::kDeadlineExceeded}),
              true};
    }
    if (!status.ok()) return {status};
    return {collector_.Finish()};
  }

  Collector collector_;
  absl::Status status_;  // of the answer so far
  bool final_ = false;
  std::atomic<bool> silent_ = false, slow_ = false;  // so that it was left
};

// The part of it that knows which of the calls it is.
template <class Request, class Response>
class PoolCall::Stream final : public Attempt, public grpc::ClientReadReactor<Response> {
 public:
  using Attempt::Attempt;

  void Start() override {
    const EncodeJob& job = call_->job_;
    // Encoded once the call has started: then it need not live as long as that.
    Request request;
    request.set_data(job.data.data(), job.data.size());
    request.set_mime_type(job.mime_type);
    request.set_header_only(job.wanted.header_only);
    Fill(job, &request);
    StartStream(*target_->stub, &context_, request, this);
    this->StartRead(&message_);
    this->StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (!Take(message_).ok()) return context_.TryCancel();
    this->StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override { End(FromGrpcStatus(status)); }

 private:
  Response message_;
};

PoolCall::PoolCall(EncoderPool* pool, EncodeJob job, EncoderPool::Done done, absl::Duration now)
    : wait_until(now + pool->options_.wait_limit),
      pool_(pool),
      job_(std::move(job)),
      done_(std::move(done)),
      start_(now) {}

PoolCall::~PoolCall() = default;

std::unique_ptr<PoolCall::Attempt> PoolCall::MakeAttempt(std::shared_ptr<Target> target) {
  switch (job_.wanted.modality) {
    case v1::MODALITY_AUDIO:
      return std::make_unique<Stream<v1::EncodeAudioRequest, v1::EncodeAudioResponse>>(
          shared_from_this(), std::move(target));
    case v1::MODALITY_VIDEO:
      return std::make_unique<Stream<v1::EncodeVideoRequest, v1::EncodeVideoResponse>>(
          shared_from_this(), std::move(target));
    default:
      return std::make_unique<Stream<v1::EncodeImageRequest, v1::EncodeImageResponse>>(
          shared_from_this(), std::move(target));
  }
}

void PoolCall::Start(std::shared_ptr<Target> target) {
  auto attempt = MakeAttempt(std::move(target));
  const std::lock_guard lock(mutex_);
  attempt_ = std::move(attempt);
  if (cancelled_) attempt_->Cancel();
  attempt_->Start();
}

void PoolCall::Cancel() {
  cancelled_ = true;
  {
    const std::lock_guard lock(mutex_);
    if (attempt_ != nullptr) attempt_->Cancel();
  }
  pool_->OnCancel();
}

void PoolCall::Leave(const Target& target, Why why) {
  const std::lock_guard lock(mutex_);
  if (attempt_ != nullptr) attempt_->Leave(target, why);
}

absl::Status PoolCall::CheckRows(const v1::SoftTokensHeader& header) const {
  if (told_rows_ == 0 || told_rows_ == header.rows()) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInternal,
      absl::StrCat("it has ", header.rows(), " rows where another encoder had ", told_rows_),
      {.reason = reason::kBadEncoderAnswer});
}

absl::Status PoolCall::TellHeader(const v1::SoftTokensHeader& header) {
  if (std::exchange(told_rows_, header.rows()) != 0) return absl::OkStatus();
  return job_.on_header == nullptr ? absl::OkStatus() : job_.on_header(header);
}

void PoolCall::TellRuns(const EncodedMedium& so_far) {
  const bool all = so_far.runs.size() == RunsOf(so_far.header).size();
  if (!all && job_.on_runs != nullptr) job_.on_runs(so_far);
}

void PoolCall::OnAttempt(const std::shared_ptr<Target>& target, Outcome outcome) {
  std::unique_ptr<Attempt> ended;
  {
    const std::lock_guard lock(mutex_);
    ended = std::move(attempt_);
  }
  if (outcome.medium.ok()) outcome.medium->encode = SteadyNow() - start_;
  pool_->OnResult(shared_from_this(), target, std::move(outcome));
}

void PoolCall::End(absl::StatusOr<EncodedMedium> medium) {
  job_.on_header = nullptr;
  job_.on_runs = nullptr;
  std::exchange(done_, nullptr)(std::move(medium));
}

}  // namespace softsplice
