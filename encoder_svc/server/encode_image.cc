#include "encoder_svc/server/encode_image.h"

#include <algorithm>
#include <limits>
#include <utility>

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
  SendHeader(Header(*image), image->rows, image->dim, image->content_digest);
  if (image->values != nullptr) SendRows(std::move(image->values), nullptr);
  EndEncoding(absl::OkStatus(), image->timings);
}

}  // namespace softsplice
