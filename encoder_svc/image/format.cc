// First bytes and mime types of image formats.
#include "encoder_svc/image/format.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

constexpr absl::string_view kSupported = "PNG, JPEG, BMP and GIF are supported";

struct KnownFormat {
  Magic magic;
  ImageFormat format;
};

constexpr KnownFormat kFormats[] = {
    {{0, {"\x89PNG\r\n\x1a\n", 8}}, ImageFormat::kPng},
    {{0, "\xff\xd8\xff"}, ImageFormat::kJpeg},
    {{0, "GIF87a"}, ImageFormat::kGif},
    {{0, "GIF89a"}, ImageFormat::kGif},
    {{0, "BM"}, ImageFormat::kBmp},
};

struct KnownMime {
  absl::string_view mime;
  ImageFormat format;
};

constexpr KnownMime kMimes[] = {
    {"image/png", ImageFormat::kPng},      {"image/jpeg", ImageFormat::kJpeg},
    {"image/jpg", ImageFormat::kJpeg},     {"image/bmp", ImageFormat::kBmp},
    {"image/x-ms-bmp", ImageFormat::kBmp}, {"image/gif", ImageFormat::kGif},
};

std::optional<ImageFormat> Sniff(absl::string_view bytes) {
  for (const KnownFormat& known : kFormats) {
    if (HasMagic(bytes, known.magic)) return known.format;
  }
  return std::nullopt;
}

std::string Unreadable(absl::string_view bytes) {
  const absl::string_view name = LooksLike(bytes);
  if (name.empty()) return "the bytes are not a picture in a format that can be read";
  return absl::StrCat("the bytes look like ", name, ", which can't be read");
}

}  // namespace

absl::string_view Name(ImageFormat format) {
  switch (format) {
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kBmp:
      return "BMP";
    case ImageFormat::kGif:
      return "GIF";
  }
  return "";
}

absl::StatusOr<ImageFormat> FindImageFormat(absl::string_view bytes, absl::string_view mime_type) {
  const std::string mime = MimeEssence(mime_type);
  std::optional<ImageFormat> stated;
  for (const KnownMime& known : kMimes) {
    if (known.mime == mime) stated = known.format;
  }
  if (!mime.empty() && !stated) {
    return InvalidField(
        "mime_type", absl::StrCat("mime type ", mime, " is not supported; image/png, image/jpeg, ",
                                  "image/bmp and image/gif are"));
  }
  if (bytes.empty()) return InvalidMedia("the picture is empty (0 bytes)");
  const std::optional<ImageFormat> found = Sniff(bytes);
  if (!found) return InvalidMedia(absl::StrCat(Unreadable(bytes), "; ", kSupported));
  if (stated && *stated != *found) {
    return InvalidField(
        "mime_type",
        absl::StrCat("mime type ", mime, " contradicts the bytes, which", " are ", Name(*found)));
  }
  return *found;
}

}  // namespace softsplice
