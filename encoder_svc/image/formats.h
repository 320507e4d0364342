// The readers of the formats, for header.cc and decode.cc: one file each.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/header.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

// As ReadImageHeader. They fill in what the format says, and decoder_bytes.
absl::StatusOr<ImageHeader> ReadPng(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadJpeg(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadGif(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadBmp(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadWebp(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadHeic(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadAvif(absl::string_view bytes, const ImageLimits& limits);

// As DecodeImage, but for the orientation.
absl::StatusOr<Picture> DecodePng(absl::string_view bytes, const ImageHeader& header);
absl::StatusOr<Picture> DecodeJpeg(absl::string_view bytes, const ImageHeader& header);
absl::StatusOr<Picture> DecodeGif(absl::string_view bytes, const ImageHeader& header);
absl::StatusOr<Picture> DecodeBmp(absl::string_view bytes, const ImageHeader& header);
absl::StatusOr<Picture> DecodeWebp(absl::string_view bytes, const ImageHeader& header);
absl::StatusOr<Picture> DecodeHeic(absl::string_view bytes, const ImageHeader& header);
absl::StatusOr<Picture> DecodeAvif(absl::string_view bytes, const ImageHeader& header);

}  // namespace softsplice
