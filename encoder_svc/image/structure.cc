// See structure.h.
#include "encoder_svc/image/structure.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {

absl::Status Truncated(ImageFormat format) {
  return InvalidMedia(absl::StrCat("the ", Name(format), " is truncated"));
}

absl::Status Corrupt(ImageFormat format, absl::string_view what) {
  return InvalidMedia(absl::StrCat("the ", Name(format), " can't be read: ", what));
}

absl::Status SetSize(ImageHeader& header, int64_t width, int64_t height,
                     const ImageLimits& limits) {
  const std::string size = absl::StrCat(width, " x ", height, " pixels");
  if (width <= 0 || height <= 0) return InvalidMedia(absl::StrCat("the picture is ", size));
  const auto w = static_cast<uint64_t>(width), h = static_cast<uint64_t>(height);
  if (w > kMaxImageSide || h > kMaxImageSide) {
    return OverLimit("data", absl::StrCat("the picture is ", size, "; the longest side allowed is ",
                                          kMaxImageSide, " pixels"));
  }
  if (w * h > limits.max_pixels) {
    return OverLimit("data", absl::StrCat("the picture is ", size, " (", w * h, "); at most ",
                                          limits.max_pixels, " pixels are allowed"));
  }
  header.width = static_cast<int>(width);
  header.height = static_cast<int>(height);
  return absl::OkStatus();
}

uint64_t Pixels(const ImageHeader& header) {
  return static_cast<uint64_t>(header.DecodedWidth()) *
         static_cast<uint64_t>(header.DecodedHeight());
}

}  // namespace softsplice
