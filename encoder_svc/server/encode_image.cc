#include "encoder_svc/server/encode_image.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "encoder_svc/server/encode_call.h"

namespace softsplice {
namespace {

int ClampToInt(uint32_t value) {
  return static_cast<int>(std::min<uint32_t>(value, std::numeric_limits<int>::max()));
}

v1::SoftTokensHeader Header(const EncodedImage& image) {
  v1::SoftTokensHeader header;
  header.set_modality(v1::MODALITY_IMAGE);
  v1::ImageLayout* layout = header.mutable_image();
  layout->set_grid_rows(image.grid_rows);
  layout->set_grid_columns(image.grid_columns);
  layout->set_source_width(image.source_width);
  layout->set_source_height(image.source_height);
  layout->set_resized_width(image.resized_width);
  layout->set_resized_height(image.resized_height);
  layout->set_max_soft_tokens(image.max_soft_tokens);
  return header;
}

class EncodeImageCall final : public EncodeCall<v1::EncodeImageResponse> {
 public:
  using EncodeCall::EncodeCall;

  void Start(const v1::EncodeImageRequest& request, Encoder& encoder) {
    const absl::Status status = CheckType();
    if (!status.ok()) return EndEncoding(status, {});
    NoteMediaBytes(request.data().size());
    ImageJob job{.data = request.data(),
                 .mime_type = request.mime_type(),
                 .max_soft_tokens = ClampToInt(request.max_soft_tokens()),
                 .header_only = request.header_only(),
                 .deadline = call().deadline(),
                 .cancel = cancel()};
    encoder.EncodeImage(std::move(job), [this](absl::StatusOr<EncodedImage> image) {
      if (!image.ok()) return EndEncoding(image.status(), {});
      SendHeader(Header(*image), image->rows, image->dim, image->content_digest);
      if (!image->values.empty()) SendRows(std::move(image->values), nullptr);
      EndEncoding(absl::OkStatus(), image->timings);
    });
  }
};

}  // namespace

grpc::ServerWriteReactor<v1::EncodeImageResponse>* StartEncodeImage(
    grpc::CallbackServerContext* context, const v1::EncodeImageRequest& request, Encoder& encoder,
    const Logger& logger) {
  auto* call = new EncodeImageCall(Call(context, logger, "EncoderService", "EncodeImage"),
                                   request.data_type(), encoder.info().fingerprint);
  call->Start(request, encoder);
  return call;
}

}  // namespace softsplice
