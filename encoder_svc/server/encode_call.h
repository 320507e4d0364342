// What a stream of soft tokens is, whatever medium they are of: a header, row chunks, a summary.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/server/duration.h"
#include "common/server/stream_call.h"
#include "common/soft_tokens/values.h"
#include "common/time/steady.h"
#include "encoder_svc/server/context.h"
#include "encoder_svc/server/rows.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// The encoder's callbacks bring the header, rows and the end, from any thread; a message is made
// when the last one has gone.
template <class Request, class Response>
class EncodeCall : public StreamCall<Request, Response> {
 public:
  // `context` outlives the call and its work; `metrics` are in it.
  EncodeCall(Call call, const Calls& calls, const EncoderContext& context,
             const MediaMetrics& metrics)
      : StreamCall<Request, Response>(std::move(call), calls, CallWeight::kHeavy),
        encoder_(context.encoder),
        metrics_(metrics) {}

 protected:
  // Hands the medium to the encoder.
  virtual void Encode(const Request& request) = 0;

  Encoder& encoder() const { return encoder_; }
  // Cancelled when nobody waits for the rows any more.
  const std::shared_ptr<CancelToken>& cancel() const { return cancel_; }

  // The caller has filled in the medium's own part of `header`.
  void SendHeader(v1::SoftTokensHeader header, int rows, int dim, const Digest& content_digest) {
    std::unique_lock lock(this->mutex_);
    FillHeader(rows, dim, type_, encoder_.info().fingerprint, content_digest, &header);
    this->Note({"rows", rows});
    rows_ = rows;
    chunks_.emplace(dim, type_);
    header_ = std::move(header);
    this->GoOn(std::move(lock));
  }

  // `next` may be null; else the encoder waits until it is called, which it is once few enough rows
  // lie here, or dropped. Rows that the client's type can't hold end the call, and those that are
  // over the budget of bytes.
  void SendRows(Values values, std::function<void()> next) {
    std::unique_lock lock(this->mutex_);
    if (this->ended()) return;
    absl::Status status = CheckRange(*values, type_);
    if (status.ok()) status = this->lease().Grow(values->size() * sizeof(float));
    if (!status.ok()) return this->Abandon(status, std::move(lock));
    chunks_->Add(std::move(values));
    next_ = std::move(next);
    AskForMore();
    this->GoOn(std::move(lock));
  }

  // The encoder's last word.
  void EndEncoding(const absl::Status& status, const EncodeTimings& timings) {
    std::unique_lock lock(this->mutex_);
    if (status.ok()) {
      this->Note(DurationField("queued", timings.queued));
      this->Note(DurationField("preprocess", timings.preprocess));
      this->Note(DurationField("forward", timings.forward));
      this->Note({"cache_hit", int64_t{timings.cache_hit}});
      timings_ = timings;
      encoded_ = SteadyNow();
      if (!header_only_) metrics_.OnEncoded(timings, rows_);
    } else {
      metrics_.OnRefused(status);
    }
    this->End(status, std::move(lock));
  }

 private:
  // Runs of rows that may lie here, one of them being written: the next one is encoded meanwhile.
  static constexpr size_t kMaxRuns = 2;

  void Begin(const Request& request) final {
    {
      const std::lock_guard lock(this->mutex_);
      type_ = request.data_type() == v1::DATA_TYPE_UNSPECIFIED ? v1::DATA_TYPE_BF16
                                                               : request.data_type();
      header_only_ = request.header_only();
      this->Note({"media_bytes", static_cast<int64_t>(request.data().size())});
    }
    if (const absl::Status status = CheckDataType(type_); !status.ok()) return this->End(status);
    Encode(request);
  }

  bool Next(Response* message) final {
    if (header_) {
      *message->mutable_header() = *std::exchange(header_, std::nullopt);
    } else if (chunks_ && !chunks_->empty()) {
      this->lease().Shrink(chunks_->Next(message->mutable_rows()) * sizeof(float));
      AskForMore();
    } else if (timings_) {
      if (!header_only_) metrics_.OnSent(SteadyNow() - encoded_);
      FillSummary(*std::exchange(timings_, std::nullopt), chunks_->crc32c(),
                  message->mutable_summary());
    } else {
      return false;
    }
    return true;
  }

  // Under mutex_, and so not from here: it may end the call.
  void AskForMore() {
    if (next_ == nullptr || chunks_->runs() >= kMaxRuns) return;
    this->calls().workers.Add(std::exchange(next_, nullptr));
  }

  void Stop() final {
    cancel_->Cancel();
    std::function<void()> dropped;  // outlives the lock
    const std::lock_guard lock(this->mutex_);
    dropped = std::exchange(next_, nullptr);
  }

  Encoder& encoder_;
  const MediaMetrics& metrics_;
  const std::shared_ptr<CancelToken> cancel_ = std::make_shared<CancelToken>();

  // Under mutex_.
  v1::DataType type_ = v1::DATA_TYPE_BF16;
  std::optional<v1::SoftTokensHeader> header_;  // to be written
  std::optional<RowChunks> chunks_;             // since the header came
  std::function<void()> next_;                  // makes the encoder go on
  std::optional<EncodeTimings> timings_;        // all rows came
  bool header_only_ = false;
  int rows_ = 0;
  absl::Duration encoded_;  // SteadyNow() when all rows came
};

}  // namespace softsplice
