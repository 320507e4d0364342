// First bytes and mime types of image formats.
#include "encoder_svc/image/format.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"
#include "common/status/error.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr absl::string_view kSupported = "PNG, JPEG, GIF, BMP, WebP, HEIC and AVIF are supported";

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

// Files of boxes say in the first one which kinds of readers can read them. The first that is known
// counts; general ones come last.
struct KnownBrand {
  absl::string_view brand;
  ImageFormat format;
};

constexpr KnownBrand kBrands[] = {
    {"avif", ImageFormat::kAvif}, {"avis", ImageFormat::kAvif}, {"heic", ImageFormat::kHeic},
    {"heix", ImageFormat::kHeic}, {"heim", ImageFormat::kHeic}, {"heis", ImageFormat::kHeic},
    {"hevc", ImageFormat::kHeic}, {"hevx", ImageFormat::kHeic}, {"hevm", ImageFormat::kHeic},
    {"hevs", ImageFormat::kHeic}, {"mif1", ImageFormat::kHeic}, {"msf1", ImageFormat::kHeic},
};

// Of formats that we read, and of others, which contradict all that we read.
struct KnownMime {
  absl::string_view mime;
  std::optional<ImageFormat> format;
};

constexpr KnownMime kMimes[] = {
    {"image/png", ImageFormat::kPng},
    {"image/apng", ImageFormat::kPng},
    {"image/x-png", ImageFormat::kPng},
    {"image/vnd.mozilla.apng", ImageFormat::kPng},
    {"image/jpeg", ImageFormat::kJpeg},
    {"image/jpg", ImageFormat::kJpeg},
    {"image/pjpeg", ImageFormat::kJpeg},
    {"image/jfif", ImageFormat::kJpeg},
    {"image/bmp", ImageFormat::kBmp},
    {"image/x-bmp", ImageFormat::kBmp},
    {"image/x-ms-bmp", ImageFormat::kBmp},
    {"image/gif", ImageFormat::kGif},
    {"image/webp", ImageFormat::kWebp},
    {"image/heic", ImageFormat::kHeic},
    {"image/heif", ImageFormat::kHeic},
    {"image/heic-sequence", ImageFormat::kHeic},
    {"image/heif-sequence", ImageFormat::kHeic},
    {"image/avif", ImageFormat::kAvif},
    {"image/avif-sequence", ImageFormat::kAvif},
    {"image/tiff", std::nullopt},
    {"image/svg+xml", std::nullopt},
    {"image/jp2", std::nullopt},
    {"image/jxl", std::nullopt},
    {"image/x-icon", std::nullopt},
    {"application/pdf", std::nullopt},
};

// Null for types that say nothing, such as application/octet-stream.
const KnownMime* FindMime(absl::string_view mime) {
  for (const KnownMime& known : kMimes) {
    if (known.mime == mime) return &known;
  }
  static constexpr KnownMime kOther = {"", std::nullopt};
  for (const absl::string_view family : {"audio/", "video/", "text/"}) {
    if (absl::StartsWith(mime, family)) return &kOther;
  }
  return nullptr;
}

// [size 4] "ftyp" [brand 4] [version 4] [brands 4 each]
std::optional<ImageFormat> SniffBrands(absl::string_view bytes) {
  constexpr size_t kMostBrands = 32;
  if (!HasMagic(bytes, {4, "ftyp"})) return std::nullopt;
  const size_t end = std::min({bytes.size(), size_t{Be32(bytes, 0)}, 16 + 4 * kMostBrands});
  for (const KnownBrand& known : kBrands) {
    for (size_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4) {
      if (bytes.substr(at, 4) == known.brand) return known.format;
    }
  }
  return std::nullopt;
}

std::optional<ImageFormat> Sniff(absl::string_view bytes) {
  for (const KnownFormat& known : kFormats) {
    if (HasMagic(bytes, known.magic)) return known.format;
  }
  if (HasMagic(bytes, {0, "RIFF"}) && HasMagic(bytes, {8, "WEBP"})) return ImageFormat::kWebp;
  return SniffBrands(bytes);
}

std::string Unreadable(absl::string_view bytes) {
  const std::string name = LooksLike(bytes);
  if (!name.empty()) return absl::StrCat("the bytes look like ", name, ", which can't be read");
  constexpr size_t kShown = 8;
  return absl::StrCat("the bytes are in no format that we know (the first ones are ",
                      absl::BytesToHexString(bytes.substr(0, kShown)), ")");
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
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kHeic:
      return "HEIC";
    case ImageFormat::kAvif:
      return "AVIF";
  }
  return "";
}

absl::StatusOr<ImageFormat> FindImageFormat(absl::string_view bytes, absl::string_view mime_type) {
  if (bytes.empty()) return InvalidMedia("the picture is empty (0 bytes)");
  const std::optional<ImageFormat> found = Sniff(bytes);
  if (!found) return InvalidMedia(absl::StrCat(Unreadable(bytes), "; ", kSupported));
  const std::string mime = MimeEssence(mime_type);
  const KnownMime* stated = FindMime(mime);
  if (stated != nullptr && stated->format != found) {
    return InvalidField(
        "mime_type",
        absl::StrCat("mime type ", mime, " contradicts the bytes, which are ", Name(*found)));
  }
  return *found;
}

}  // namespace softsplice
