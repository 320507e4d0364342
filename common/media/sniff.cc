// See sniff.h.
#include "common/media/sniff.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

constexpr ContentKind kPicture = ContentKind::kPicture, kSound = ContentKind::kSound,
                      kVideo = ContentKind::kVideo, kNeither = ContentKind::kNeither;

constexpr NamedFormat kFormats[] = {
    {{0, {"\x89PNG\r\n\x1a\n", 8}}, "PNG", kPicture},
    {{0, "\xff\xd8\xff"}, "JPEG", kPicture},
    {{0, "GIF8"}, "GIF", kPicture},
    {{8, "WEBP"}, "WebP", kPicture},
    {{0, {"II*\0", 4}}, "TIFF", kPicture},
    {{0, {"MM\0*", 4}}, "TIFF", kPicture},
    {{4, "ftypavi"}, "AVIF", kPicture},  // avif, avis
    {{4, "ftyphei"}, "HEIC", kPicture},  // heic, heix, heim, heis
    {{4, "ftyphev"}, "HEIC", kPicture},  // the same of sequences
    {{4, "ftypmif1"}, "HEIF", kPicture},
    {{4, "ftypmsf1"}, "HEIF", kPicture},
    {{4, "ftypcrx "}, "Canon's raw format", kPicture},
    {{4, {"jP  \r\n", 6}}, "JPEG 2000", kPicture},
    {{4, {"JXL \r\n", 6}}, "JPEG XL", kPicture},
    {{0, "8BPS"}, "Photoshop's format", kPicture},
    {{0, {"\0\0\1\0", 4}}, "an icon (ICO)", kPicture},
    {{0, "qoif"}, "QOI", kPicture},
    {{0, {"\x76\x2f\x31\x01", 4}}, "OpenEXR", kPicture},
    {{0, "<svg"}, "SVG", kPicture},
    {{0, "\xff\x0a"}, "JPEG XL", kPicture},
    {{8, "WAVE"}, "WAV", kSound},
    {{0, "fLaC"}, "FLAC", kSound},
    {{0, "OggS"}, "OGG", kSound},
    {{0, "ID3"}, "MP3", kSound},
    {{4, "ftypM4A"}, "MP4 or M4A (AAC)", kSound},
    {{4, "ftypM4B"}, "MP4 or M4A (AAC)", kSound},  // a chapter's picture may be a track in these
    {{4, "ftyp"}, "MP4 or M4A (AAC)", kVideo},
    {{4, "moov"}, "MOV", kVideo},  // QuickTime's, as it was before MP4
    {{4, "mdat"}, "MOV", kVideo},
    {{4, "wide"}, "MOV", kVideo},
    {{0, "\xff\xf1"}, "AAC", kSound},
    {{0, "\xff\xf9"}, "AAC", kSound},
    {{0, "\x1a\x45\xdf\xa3"}, "WebM or Matroska", kVideo},
    {{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"}, "WMA", kSound},
    {{8, "AIFF"}, "AIFF", kSound},
    {{8, "AIFC"}, "AIFF", kSound},
    {{0, "caff"}, "CAF", kSound},
    {{0, ".snd"}, "AU", kSound},
    {{0, "#!AMR"}, "AMR", kSound},
    {{0, "MThd"}, "MIDI", kSound},
    {{8, "AVI "}, "AVI", kVideo},
    {{0, "FLV\1"}, "FLV", kVideo},
    {{0, {"\0\0\1\xba", 4}}, "MPEG", kVideo},
    {{0, "<?xml"}, "XML", kNeither},
    {{0, "%PDF"}, "PDF", kNeither},
    {{0, {"PK\3\4", 4}}, "a ZIP archive", kNeither},
    {{0, {"\x1f\x8b", 2}}, "a gzip file", kNeither},
    {{0, "<!DOCTYPE"}, "HTML", kNeither},
    {{0, "<html"}, "HTML", kNeither},
    {{0, "data:"}, "a data: URL", kNeither},
    {{0, "https://"}, "a URL", kNeither},
    {{0, "http://"}, "a URL", kNeither},
};

// What the beginning of a base64 text stands for; empty if `text` begins with anything else.
std::string Unbase64(absl::string_view text) {
  constexpr size_t kGroup = 4, kMost = 16 * kGroup;
  std::string bytes;
  const absl::string_view begin = text.substr(0, std::min(kMost, text.size() / kGroup * kGroup));
  return absl::Base64Unescape(begin, &bytes) ? bytes : "";
}

}  // namespace

bool HasMagic(absl::string_view bytes, const Magic& magic) {
  return bytes.size() >= magic.offset + magic.bytes.size() &&
         bytes.substr(magic.offset, magic.bytes.size()) == magic.bytes;
}

const NamedFormat* FindNamedFormat(absl::string_view bytes) {
  for (const NamedFormat& format : kFormats) {
    if (HasMagic(bytes, format.magic)) return &format;
  }
  return nullptr;
}

std::string LooksLike(absl::string_view bytes) {
  const NamedFormat* format = FindNamedFormat(bytes);
  if (format != nullptr) return std::string(format->name);
  format = FindNamedFormat(Unbase64(bytes));
  return format == nullptr ? "" : absl::StrCat(format->name, " in base64");
}

std::string MimeEssence(absl::string_view mime_type) {
  return absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(mime_type.substr(0, mime_type.find(';'))));
}

}  // namespace softsplice
