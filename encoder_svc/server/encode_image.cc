#include "encoder_svc/server/encode_image.h"

#include <utility>

#include "encoder_svc/server/layout.h"

namespace softsplice {
namespace {

v1::SoftTokensHeader Header(const ImageLayout& layout) {
  v1::SoftTokensHeader header;
  header.set_modality(v1::MODALITY_IMAGE);
  FillLayout(layout, header.mutable_image());
  return header;
}

}  // namespace

void EncodeImageCall::Encode(const v1::EncodeImageRequest& request) {
  auto self = std::static_pointer_cast<EncodeImageCall>(shared_from_this());
  ImageJob job{.data = std::move(*mutable_request().mutable_data()),
               .mime_type = request.mime_type(),
               .max_soft_tokens = ClampToInt(request.max_soft_tokens()),
               .header_only = request.header_only(),
               .deadline = call().deadline(),
               .cancel = cancel()};
  encoder().EncodeImage(std::move(job), [self](absl::StatusOr<EncodedImage> image) {
    self->Guard([&] { self->OnImage(std::move(image)); });
  });
}

void EncodeImageCall::OnImage(absl::StatusOr<EncodedImage> image) {
  if (!image.ok()) return EndEncoding(image.status(), {});
  SendHeader(Header(image->layout), image->layout.rows, image->dim, image->content_digest);
  if (image->values != nullptr) SendRows(std::move(image->values), nullptr);
  EndEncoding(absl::OkStatus(), image->timings);
}

}  // namespace softsplice
