// See header.h.
#include "encoder_svc/image/header.h"

#include <algorithm>
#include <climits>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/image/formats.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

absl::StatusOr<ImageHeader> ReadFormat(absl::string_view bytes, ImageFormat format,
                                       const ImageLimits& limits) {
  switch (format) {
    case ImageFormat::kPng:
      return ReadPng(bytes, limits);
    case ImageFormat::kJpeg:
      return ReadJpeg(bytes, limits);
    case ImageFormat::kGif:
      return ReadGif(bytes, limits);
    case ImageFormat::kBmp:
      return ReadBmp(bytes, limits);
    case ImageFormat::kWebp:
      return ReadWebp(bytes, limits);
    case ImageFormat::kHeic:
      return ReadHeic(bytes, limits);
    case ImageFormat::kAvif:
      return ReadAvif(bytes, limits);
  }
  return absl::InternalError("unknown image format");
}

}  // namespace

absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view bytes, absl::string_view mime_type,
                                            const ImageLimits& limits) {
  if (bytes.size() > std::min<uint64_t>(limits.max_bytes, INT_MAX)) {
    return OverLimit("data", absl::StrCat("the picture has ", bytes.size(), " bytes; at most ",
                                          limits.max_bytes, " are allowed"));
  }
  ASSIGN_OR_RETURN(const ImageFormat format, FindImageFormat(bytes, mime_type));
  ASSIGN_OR_RETURN(ImageHeader header, ReadFormat(bytes, format, limits));
  header.format = format;
  // Even the smallest picture's decoder has buffers of some KiB.
  constexpr uint64_t kLeast = 64 << 10;
  header.decoder_bytes += kLeast;
  // The picture next to all that the decoder has, then next to the turned one.
  const uint64_t rgb = 3 * Pixels(header);
  header.decoding_bytes =
      std::max(rgb + header.decoder_bytes, header.orientation == 1 ? 0 : 2 * rgb);
  return header;
}

}  // namespace softsplice
