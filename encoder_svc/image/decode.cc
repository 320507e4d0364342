// See decode.h.
#include "encoder_svc/image/decode.h"

#include <utility>

#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/orientation.h"

namespace softsplice {
namespace {

absl::StatusOr<Picture> DecodeFormat(absl::string_view bytes, const ImageHeader& header) {
  switch (header.format) {
    case ImageFormat::kPng:
      return DecodePng(bytes, header);
    case ImageFormat::kJpeg:
      return DecodeJpeg(bytes, header);
    case ImageFormat::kGif:
      return DecodeGif(bytes, header);
    case ImageFormat::kBmp:
      return DecodeBmp(bytes, header);
    case ImageFormat::kWebp:
      return DecodeWebp(bytes, header);
    case ImageFormat::kHeic:
      return DecodeHeic(bytes, header);
    case ImageFormat::kAvif:
      return DecodeAvif(bytes, header);
  }
  return absl::InternalError("unknown image format");
}

}  // namespace

absl::StatusOr<Picture> DecodeImage(absl::string_view bytes, const ImageHeader& header) {
  absl::StatusOr<Picture> picture = DecodeFormat(bytes, header);
  if (!picture.ok()) return picture;
  return Upright(*std::move(picture), header.orientation);
}

}  // namespace softsplice
