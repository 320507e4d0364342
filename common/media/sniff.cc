// See sniff.h.
#include "common/media/sniff.h"

#include "absl/strings/ascii.h"

namespace softsplice {
namespace {

constexpr MediaKind kPicture = MediaKind::kPicture, kSound = MediaKind::kSound,
                    kNeither = MediaKind::kNeither;

constexpr NamedFormat kFormats[] = {
    {{0, {"\x89PNG\r\n\x1a\n", 8}}, "PNG", kPicture},
    {{0, "\xff\xd8\xff"}, "JPEG", kPicture},
    {{0, "GIF8"}, "GIF", kPicture},
    {{8, "WEBP"}, "WebP", kPicture},
    {{0, {"II*\0", 4}}, "TIFF", kPicture},
    {{0, {"MM\0*", 4}}, "TIFF", kPicture},
    {{4, "ftypavif"}, "AVIF", kPicture},
    {{4, "ftypheic"}, "HEIC", kPicture},
    {{4, "ftypmif1"}, "HEIF", kPicture},
    {{4, "ftypheix"}, "HEIC", kPicture},
    {{0, "<svg"}, "SVG", kPicture},
    {{0, "\xff\x0a"}, "JPEG XL", kPicture},
    {{8, "WAVE"}, "WAV", kSound},
    {{0, "fLaC"}, "FLAC", kSound},
    {{0, "OggS"}, "OGG", kSound},
    {{0, "ID3"}, "MP3", kSound},
    {{4, "ftypM4A"}, "MP4 or M4A (AAC)", kSound},
    {{4, "ftyp"}, "MP4 or M4A (AAC)", kSound},
    {{0, "\xff\xf1"}, "AAC", kSound},
    {{0, "\xff\xf9"}, "AAC", kSound},
    {{0, "\x1a\x45\xdf\xa3"}, "WebM or Matroska", kSound},
    {{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"}, "WMA", kSound},
    {{8, "AIFF"}, "AIFF", kSound},
    {{8, "AIFC"}, "AIFF", kSound},
    {{0, "caff"}, "CAF", kSound},
    {{0, ".snd"}, "AU", kSound},
    {{0, "#!AMR"}, "AMR", kSound},
    {{0, "MThd"}, "MIDI", kSound},
    {{8, "AVI "}, "AVI", kNeither},
    {{0, "<?xml"}, "XML", kNeither},
    {{0, "%PDF"}, "PDF", kNeither},
    {{0, "<!DOCTYPE"}, "HTML", kNeither},
    {{0, "<html"}, "HTML", kNeither},
    {{0, "data:"}, "a data: URL", kNeither},
    {{0, "https://"}, "a URL", kNeither},
    {{0, "http://"}, "a URL", kNeither},
    {{0, "iVBORw0KGgo"}, "PNG in base64", kNeither},
    {{0, "/9j/"}, "JPEG in base64", kNeither},
    {{0, "UklGR"}, "WebP in base64", kNeither, {12, "RUJQ"}},
    {{0, "UklGR"}, "WAV in base64", kNeither, {12, "QVZF"}},
    {{0, "T2dnUw"}, "OGG in base64", kNeither},
    {{0, "ZkxhQ"}, "FLAC in base64", kNeither},
    {{0, "SUQz"}, "MP3 in base64", kNeither},
};

}  // namespace

bool HasMagic(absl::string_view bytes, const Magic& magic) {
  return bytes.size() >= magic.offset + magic.bytes.size() &&
         bytes.substr(magic.offset, magic.bytes.size()) == magic.bytes;
}

const NamedFormat* FindNamedFormat(absl::string_view bytes) {
  for (const NamedFormat& format : kFormats) {
    if (HasMagic(bytes, format.magic) && HasMagic(bytes, format.also)) return &format;
  }
  return nullptr;
}

absl::string_view LooksLike(absl::string_view bytes) {
  const NamedFormat* format = FindNamedFormat(bytes);
  return format == nullptr ? "" : format->name;
}

std::string MimeEssence(absl::string_view mime_type) {
  return absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(mime_type.substr(0, mime_type.find(';'))));
}

}  // namespace softsplice
