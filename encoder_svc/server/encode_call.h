// What a stream of soft tokens is, whatever medium they are of: a header, row chunks, a summary.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "common/server/call.h"
#include "common/server/duration.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/server/rows.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// The reactor of one call. The encoder's callbacks bring the header, rows and the end, from any
// thread; one write is under way at a time, and a message is made when the last one has gone. It
// lives as long as the encoder may call back, also when the client is gone, and deletes itself.
template <typename Response>
class EncodeCall : public grpc::ServerWriteReactor<Response> {
 public:
  EncodeCall(Call call, v1::DataType type, const Digest& fingerprint)
      : call_(std::move(call)),
        type_(type == v1::DATA_TYPE_UNSPECIFIED ? v1::DATA_TYPE_BF16 : type),
        fingerprint_(fingerprint) {}

  void OnWriteDone(bool ok) final {
    std::unique_lock lock(mutex_);
    busy_ = false;
    if (!ok && !end_) end_ = absl::CancelledError("the client is gone");
    if (summarised_ && !end_) end_ = absl::OkStatus();
    GoOn(std::move(lock));
  }
  void OnCancel() final { cancel_->Cancel(); }
  void OnDone() final { delete this; }

 protected:
  absl::Status CheckType() const { return CheckDataType(type_); }
  const Call& call() const { return call_; }
  void NoteMediaBytes(size_t bytes) { call_.Note({"media_bytes", static_cast<int64_t>(bytes)}); }
  // Cancelled when nobody waits for the rows any more.
  const std::shared_ptr<CancelToken>& cancel() const { return cancel_; }

  // The caller has filled in the medium's own part of `header`.
  void SendHeader(v1::SoftTokensHeader header, int rows, int dim, const Digest& content_digest) {
    FillHeader(rows, dim, type_, fingerprint_, content_digest, &header);
    std::unique_lock lock(mutex_);
    call_.Note({"rows", rows});
    chunks_.emplace(dim, type_);
    header_ = std::move(header);
    GoOn(std::move(lock));
  }

  // `next` may be null; else the encoder waits until it is called, which it is once few enough rows
  // lie here.
  void SendRows(std::vector<float> values, std::function<void()> next) {
    std::unique_lock lock(mutex_);
    chunks_->Add(std::move(values));
    encoding_ = next == nullptr;
    next_ = std::move(next);
    GoOn(std::move(lock));
  }

  // The encoder's last word.
  void EndEncoding(const absl::Status& status, const EncodeTimings& timings) {
    std::unique_lock lock(mutex_);
    encoding_ = false;
    if (!status.ok() && !end_) end_ = status;
    if (status.ok()) {
      call_.Note(DurationField("queued", timings.queued));
      call_.Note(DurationField("preprocess", timings.preprocess));
      call_.Note(DurationField("forward", timings.forward));
      timings_ = timings;
    }
    GoOn(std::move(lock));
  }

 private:
  // Runs of rows that may lie here, one of them being written: the next one is encoded meanwhile.
  static constexpr size_t kMaxRuns = 2;

  // Starts what can start: a write or the end of the call, and the encoder. `lock` has been held
  // since what is new was noted: were it let go in between, another thread could end the call, and
  // this object with it. It may be gone afterwards.
  void GoOn(std::unique_lock<std::mutex> lock) {
    std::optional<absl::Status> end;
    if (!busy_ && end_ && !encoding_) end = end_;
    const bool write = !busy_ && !end_ && FillMessage();
    busy_ = busy_ || end || write;
    std::function<void()> next;
    if (next_ != nullptr && !end_ && chunks_->runs() < kMaxRuns) {
      next = std::exchange(next_, nullptr);
      encoding_ = true;
    }
    lock.unlock();
    if (write) this->StartWrite(&message_);
    if (end) this->Finish(call_.End(*end));
    if (next != nullptr) next();
  }

  // The next message; false if there is none yet.
  bool FillMessage() {
    message_.Clear();
    if (header_) {
      *message_.mutable_header() = *std::exchange(header_, std::nullopt);
    } else if (chunks_ && !chunks_->empty()) {
      chunks_->Next(message_.mutable_rows());
    } else if (timings_) {
      FillSummary(*timings_, chunks_->crc32c(), message_.mutable_summary());
      summarised_ = true;
    } else {
      return false;
    }
    return true;
  }

  Call call_;
  const v1::DataType type_;
  const Digest fingerprint_;
  const std::shared_ptr<CancelToken> cancel_ = std::make_shared<CancelToken>();
  Response message_;  // being written

  std::mutex mutex_;
  bool encoding_ = true;                        // the encoder may call back
  bool busy_ = false;                           // a write or the end of the call is under way
  std::optional<v1::SoftTokensHeader> header_;  // to be written
  std::optional<RowChunks> chunks_;             // since the header came
  std::function<void()> next_;                  // makes the encoder go on
  std::optional<EncodeTimings> timings_;        // all rows came
  bool summarised_ = false;                     // message_ is the last one
  std::optional<absl::Status> end_;
};

}  // namespace softsplice
