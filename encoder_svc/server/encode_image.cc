#include "encoder_svc/server/encode_image.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/call.h"
#include "common/server/duration.h"
#include "common/status/error.h"
#include "encoder_svc/server/rows.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

std::string Bytes(const Digest& digest) { return std::string(digest.begin(), digest.end()); }

void FillHeader(const EncodedImage& image, const Digest& fingerprint, v1::DataType type,
                v1::SoftTokensHeader* header) {
  header->set_modality(v1::MODALITY_IMAGE);
  header->set_rows(image.rows);
  header->set_dim(image.dim);
  header->set_data_type(type);
  header->set_encoder_fingerprint(Bytes(fingerprint));
  header->set_content_digest(Bytes(image.content_digest));
  v1::ImageLayout* layout = header->mutable_image();
  layout->set_grid_rows(image.grid_rows);
  layout->set_grid_columns(image.grid_columns);
  layout->set_source_width(image.source_width);
  layout->set_source_height(image.source_height);
  layout->set_resized_width(image.resized_width);
  layout->set_resized_height(image.resized_height);
  layout->set_max_soft_tokens(image.max_soft_tokens);
}

// The stream: a header, row chunks, a summary. One write is under way at a time, and the next
// message is made when the last one has gone.
class EncodeImageCall final : public grpc::ServerWriteReactor<v1::EncodeImageResponse> {
 public:
  EncodeImageCall(Call call, v1::DataType type, const Digest& fingerprint)
      : call_(std::move(call)), type_(type), fingerprint_(fingerprint) {}

  void Start(const v1::EncodeImageRequest& request, Encoder& encoder) {
    if (DataTypeBytes(type_) == 0) {
      return End(InvalidField(
          "data_type", absl::StrCat("data_type is ", type_, "; it must be F32, F16 or BF16")));
    }
    call_.Note({"media_bytes", static_cast<int64_t>(request.data().size())});
    ImageJob job{.data = request.data(),
                 .mime_type = request.mime_type(),
                 .max_soft_tokens = ClampToInt(request.max_soft_tokens()),
                 .header_only = request.header_only(),
                 .deadline = call_.deadline(),
                 .cancelled = [this] { return cancelled_.load(); }};
    encoder.EncodeImage(std::move(job), [this](absl::StatusOr<EncodedImage> image) {
      OnEncoded(std::move(image));
    });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client is gone"));
    if (finished_) return End(absl::OkStatus());
    WriteNext();
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  static int ClampToInt(uint32_t value) {
    return static_cast<int>(std::min<uint32_t>(value, std::numeric_limits<int>::max()));
  }

  void OnEncoded(absl::StatusOr<EncodedImage> image) {
    if (!image.ok()) return End(image.status());
    image_ = *std::move(image);
    call_.Note({"rows", image_.rows});
    call_.Note(DurationField("queued", image_.timings.queued));
    call_.Note(DurationField("preprocess", image_.timings.preprocess));
    call_.Note(DurationField("forward", image_.timings.forward));
    chunks_.emplace(image_.values, image_.dim, type_);
    FillHeader(image_, fingerprint_, type_, message_.mutable_header());
    StartWrite(&message_);
  }

  void WriteNext() {
    message_.Clear();
    if (!chunks_->done()) {
      chunks_->Next(message_.mutable_rows());
    } else {
      v1::EncodeSummary* summary = message_.mutable_summary();
      summary->set_crc32c(chunks_->crc32c());
      v1::EncodeTimings* timings = summary->mutable_timings();
      SetDuration(image_.timings.queued, timings->mutable_queued());
      SetDuration(image_.timings.preprocess, timings->mutable_preprocess());
      SetDuration(image_.timings.forward, timings->mutable_forward());
      finished_ = true;
    }
    StartWrite(&message_);
  }

  void End(const absl::Status& status) { Finish(call_.End(status)); }

  Call call_;
  const v1::DataType type_;
  const Digest fingerprint_;
  std::atomic<bool> cancelled_ = false;
  EncodedImage image_;
  std::optional<RowChunks> chunks_;  // of image_
  v1::EncodeImageResponse message_;  // being written
  bool finished_ = false;            // message_ is the last one
};

}  // namespace

grpc::ServerWriteReactor<v1::EncodeImageResponse>* StartEncodeImage(
    grpc::CallbackServerContext* context, const v1::EncodeImageRequest& request, Encoder& encoder,
    const Logger& logger) {
  const v1::DataType type =
      request.data_type() == v1::DATA_TYPE_UNSPECIFIED ? v1::DATA_TYPE_BF16 : request.data_type();
  auto* call = new EncodeImageCall(Call(context, logger, "EncoderService", "EncodeImage"), type,
                                   encoder.info().fingerprint);
  call->Start(request, encoder);
  return call;
}

}  // namespace softsplice
