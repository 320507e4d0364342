// First bytes and mime types of image formats.
#include "encoder_svc/image/format.h"

#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

constexpr absl::string_view kSupported = "PNG, JPEG, BMP and GIF are supported";

struct Magic {
  size_t offset;
  absl::string_view bytes;
};

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

// What people send most often that we can't read; named so that the message helps.
struct OtherFormat {
  Magic magic;
  absl::string_view name;
};

constexpr OtherFormat kOthers[] = {
    {{8, "WEBP"}, "WebP"},
    {{0, {"II*\0", 4}}, "TIFF"},
    {{0, {"MM\0*", 4}}, "TIFF"},
    {{4, "ftypavif"}, "AVIF"},
    {{4, "ftypheic"}, "HEIC"},
    {{4, "ftypmif1"}, "HEIF"},
    {{4, "ftypheix"}, "HEIC"},
    {{0, "<svg"}, "SVG"},
    {{0, "<?xml"}, "XML"},
    {{0, "%PDF"}, "PDF"},
    {{8, "WAVE"}, "WAV"},
    {{0, "\xff\x0a"}, "JPEG XL"},
    {{0, "<!DOCTYPE"}, "HTML"},
    {{0, "<html"}, "HTML"},
    {{0, "data:"}, "a data: URL"},
    {{0, "https://"}, "a URL"},
    {{0, "http://"}, "a URL"},
    {{0, "iVBORw0KGgo"}, "PNG in base64"},
    {{0, "/9j/"}, "JPEG in base64"},
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

bool Has(absl::string_view bytes, const Magic& magic) {
  return bytes.size() >= magic.offset + magic.bytes.size() &&
         bytes.substr(magic.offset, magic.bytes.size()) == magic.bytes;
}

std::optional<ImageFormat> Sniff(absl::string_view bytes) {
  for (const KnownFormat& known : kFormats) {
    if (Has(bytes, known.magic)) return known.format;
  }
  return std::nullopt;
}

// "not a picture we can read (it looks like WebP)".
std::string Unreadable(absl::string_view bytes) {
  for (const OtherFormat& other : kOthers) {
    if (Has(bytes, other.magic)) {
      return absl::StrCat("the bytes look like ", other.name, ", which can't be read");
    }
  }
  return "the bytes are not a picture in a format that can be read";
}

// `mime_type` without parameters, in lower case.
std::string Essence(absl::string_view mime_type) {
  return absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(mime_type.substr(0, mime_type.find(';'))));
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
  const std::string mime = Essence(mime_type);
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
