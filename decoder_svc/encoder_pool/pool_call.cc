// One medium on its way through an encoder: at most two tries.
#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/call.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/encoder_pool/target.h"

namespace softsplice {
namespace {

constexpr int kTries = 2;
// What the same encoder gets to come back, when there is no other.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(300);
constexpr absl::Duration kClientRetryDelay = absl::Seconds(1);

// What the decoder's client hears of an encoder's error.
absl::Status ForClient(const std::string& address, const absl::Status& status) {
  const auto error = [&](absl::StatusCode code, absl::string_view text, absl::string_view reason,
                         absl::Duration retry_after = absl::ZeroDuration()) {
    return MakeError(code, absl::StrCat("the encoder at ", address, " ", text, status.message()),
                     {.reason = std::string(reason), .retry_after = retry_after});
  };
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kFailedPrecondition:
      return status;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
      return error(absl::StatusCode::kUnavailable,
                   "is not available: ", reason::kEncoderUnavailable, kClientRetryDelay);
    case absl::StatusCode::kDeadlineExceeded:
      return error(absl::StatusCode::kDeadlineExceeded, "took too long: ", reason::kEncoderTooSlow);
    case absl::StatusCode::kUnimplemented:
      return error(absl::StatusCode::kFailedPrecondition,
                   "does not encode such media: ", reason::kNoEncoder);
    default:
      return error(absl::StatusCode::kInternal, "failed: ", GetErrorDetail(status).reason);
  }
}

using Request = std::variant<v1::EncodeImageRequest, v1::EncodeAudioRequest>;

Request MakeRequest(EncodeJob& job) {
  const auto fill = [&](auto request) {
    request.set_data(std::move(job.data));
    request.set_mime_type(std::move(job.mime_type));
    request.set_header_only(job.wanted.header_only);
    return request;
  };
  if (job.wanted.modality == v1::MODALITY_AUDIO) return fill(v1::EncodeAudioRequest());
  v1::EncodeImageRequest request = fill(v1::EncodeImageRequest());
  request.set_max_soft_tokens(job.max_soft_tokens);
  return request;
}

// What sets the two calls apart.
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

}  // namespace

// Owned by the caller and, while it is under way, by itself.
class PoolCall final : public EncoderPool::Call, public std::enable_shared_from_this<PoolCall> {
 public:
  PoolCall(EncoderPool* pool, EncodeJob job, EncoderPool::Done done)
      : pool_(pool),
        done_(std::move(done)),
        start_(absl::Now()),
        deadline_(std::min(job.deadline, start_ + pool->options_.encode_limit)),
        request_id_(std::move(job.request_id)),
        traceparent_(std::move(job.traceparent)),
        wanted_(job.wanted),
        request_(MakeRequest(job)) {}

  void Try();
  void Cancel() override;

 private:
  class Attempt;
  template <class OfRequest, class Response>
  class Stream;

  std::unique_ptr<Attempt> MakeAttempt();
  void OnAttempt(absl::StatusOr<EncodedMedium> medium);
  void End(absl::StatusOr<EncodedMedium> medium) {
    std::exchange(done_, nullptr)(std::move(medium));
  }
  SoftTokensRules Rules() const;

  EncoderPool* const pool_;
  EncoderPool::Done done_;  // empty once called: it may own what owns this
  const absl::Time start_;
  const absl::Time deadline_;
  const std::string request_id_;
  const std::string traceparent_;
  const Wanted wanted_;
  const Request request_;
  EncoderPool::Target* target_ = nullptr;  // of the last try
  int tries_ = 0;

  std::mutex mutex_;
  bool cancelled_ = false;
  std::unique_ptr<Attempt> attempt_;  // under way
  // Between two tries. The alarm keeps its function for good: this must not be what it owns.
  std::shared_ptr<PoolCall> self_;
  grpc::Alarm alarm_;
};

// One stream from one encoder.
class PoolCall::Attempt {
 public:
  explicit Attempt(std::shared_ptr<PoolCall> call)
      : call_(std::move(call)), collector_(call_->Rules(), call_->wanted_) {
    context_.set_deadline(absl::ToChronoTime(call_->deadline_));
    context_.AddMetadata(kRequestIdHeader, call_->request_id_);
    if (!call_->traceparent_.empty()) {
      context_.AddMetadata(kTraceparentHeader, call_->traceparent_);
    }
  }
  virtual ~Attempt() = default;

  virtual void Start() = 0;
  void Cancel() { context_.TryCancel(); }

 protected:
  // Ends this object's life.
  void End(const absl::Status& status) {
    const std::shared_ptr<PoolCall> call = std::move(call_);
    call->OnAttempt(Result(status));
  }

  std::shared_ptr<PoolCall> call_;
  grpc::ClientContext context_;
  Collector collector_;
  absl::Status status_;  // of the answer so far

 private:
  absl::StatusOr<EncodedMedium> Result(const absl::Status& status) {
    if (!status_.ok()) return status_;
    if (!status.ok()) return status;
    return collector_.Finish();
  }
};

// The part of it that knows which of the two calls it is.
template <class OfRequest, class Response>
class PoolCall::Stream final : public Attempt, public grpc::ClientReadReactor<Response> {
 public:
  Stream(std::shared_ptr<PoolCall> call, const OfRequest& request)
      : Attempt(std::move(call)), request_(request) {}

  void Start() override {
    StartStream(*call_->target_->stub, &context_, request_, this);
    this->StartRead(&message_);
    this->StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    status_ = collector_.Add(message_);
    if (!status_.ok()) return context_.TryCancel();
    this->StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override { End(FromGrpcStatus(status)); }

 private:
  const OfRequest& request_;  // of call_
  Response message_;
};

std::unique_ptr<PoolCall::Attempt> PoolCall::MakeAttempt() {
  if (const auto* image = std::get_if<v1::EncodeImageRequest>(&request_)) {
    return std::make_unique<Stream<v1::EncodeImageRequest, v1::EncodeImageResponse>>(
        shared_from_this(), *image);
  }
  return std::make_unique<Stream<v1::EncodeAudioRequest, v1::EncodeAudioResponse>>(
      shared_from_this(), std::get<v1::EncodeAudioRequest>(request_));
}

SoftTokensRules PoolCall::Rules() const {
  const std::string fingerprint = pool_->fingerprint();
  return {
      .dim = pool_->options_.dim, .fingerprint = fingerprint, .allow_foreign = fingerprint.empty()};
}

void PoolCall::Try() {
  auto target = pool_->Acquire(target_);
  if (!target.ok()) return End(target.status());
  target_ = *target;
  ++tries_;
  const std::lock_guard lock(mutex_);
  attempt_ = MakeAttempt();
  if (cancelled_) attempt_->Cancel();
  attempt_->Start();
}

void PoolCall::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (attempt_ != nullptr) attempt_->Cancel();
  alarm_.Cancel();
}

void PoolCall::OnAttempt(absl::StatusOr<EncodedMedium> medium) {
  pool_->Release(target_, medium.status());
  std::unique_ptr<Attempt> ended;
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    ended = std::move(attempt_);
    cancelled = cancelled_;
    if (!cancelled && absl::IsUnavailable(medium.status()) && tries_ < kTries) {
      const absl::Duration delay =
          pool_->options_.addresses.size() > 1 ? absl::ZeroDuration() : kRetryDelay;
      self_ = shared_from_this();
      alarm_.Set(absl::ToChronoTime(absl::Now() + delay), [this](bool /*ok*/) {
        const std::shared_ptr<PoolCall> self = std::exchange(self_, nullptr);
        Try();
      });
      return;
    }
  }
  if (cancelled) return End(absl::CancelledError("the request was cancelled"));
  if (!medium.ok()) return End(ForClient(target_->address, medium.status()));
  medium->encode = absl::Now() - start_;
  End(std::move(medium));
}

std::shared_ptr<EncoderPool::Call> EncoderPool::Encode(EncodeJob job, Done done) {
  auto call = std::make_shared<PoolCall>(this, std::move(job), std::move(done));
  call->Try();
  return call;
}

}  // namespace softsplice
