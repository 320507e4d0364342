// See sniff.h.
#include "common/media/sniff.h"

#include <cstdint>

#include "absl/strings/ascii.h"

namespace softsplice {
namespace {

struct NamedFormat {
  Magic magic;
  absl::string_view name;
};

constexpr NamedFormat kFormats[] = {
    // Pictures.
    {{0, {"\x89PNG\r\n\x1a\n", 8}}, "PNG"},
    {{0, "\xff\xd8\xff"}, "JPEG"},
    {{0, "GIF8"}, "GIF"},
    {{8, "WEBP"}, "WebP"},
    {{0, {"II*\0", 4}}, "TIFF"},
    {{0, {"MM\0*", 4}}, "TIFF"},
    {{4, "ftypavif"}, "AVIF"},
    {{4, "ftypheic"}, "HEIC"},
    {{4, "ftypmif1"}, "HEIF"},
    {{4, "ftypheix"}, "HEIC"},
    {{0, "<svg"}, "SVG"},
    {{0, "\xff\x0a"}, "JPEG XL"},
    // Sounds.
    {{8, "WAVE"}, "WAV"},
    {{0, "fLaC"}, "FLAC"},
    {{0, "OggS"}, "OGG"},
    {{0, "ID3"}, "MP3"},
    {{4, "ftyp"}, "MP4 or M4A (AAC)"},
    {{0, "\xff\xf1"}, "AAC"},
    {{0, "\xff\xf9"}, "AAC"},
    {{0, "\x1a\x45\xdf\xa3"}, "WebM or Matroska"},
    {{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"}, "WMA"},
    {{8, "AIFF"}, "AIFF"},
    {{8, "AIFC"}, "AIFF"},
    {{0, "caff"}, "CAF"},
    {{0, ".snd"}, "AU"},
    {{0, "#!AMR"}, "AMR"},
    {{0, "MThd"}, "MIDI"},
    {{8, "AVI "}, "AVI"},
    // Neither.
    {{0, "<?xml"}, "XML"},
    {{0, "%PDF"}, "PDF"},
    {{0, "<!DOCTYPE"}, "HTML"},
    {{0, "<html"}, "HTML"},
    {{0, "data:"}, "a data: URL"},
    {{0, "https://"}, "a URL"},
    {{0, "http://"}, "a URL"},
    {{0, "iVBORw0KGgo"}, "PNG in base64"},
    {{0, "/9j/"}, "JPEG in base64"},
    {{0, "UklGR"}, "WAV in base64"},
    {{0, "T2dnUw"}, "OGG in base64"},
    {{0, "ZkxhQ"}, "FLAC in base64"},
    {{0, "SUQz"}, "MP3 in base64"},
};

}  // namespace

bool HasMagic(absl::string_view bytes, const Magic& magic) {
  return bytes.size() >= magic.offset + magic.bytes.size() &&
         bytes.substr(magic.offset, magic.bytes.size()) == magic.bytes;
}

bool IsMpegFrame(absl::string_view bytes) {
  if (bytes.size() < 4) return false;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const int version = byte(1) >> 3 & 3, layer = byte(1) >> 1 & 3;
  const int bit_rate = byte(2) >> 4, sample_rate = byte(2) >> 2 & 3;
  return byte(0) == 0xFF && (byte(1) & 0xE0) == 0xE0 && version != 1 && layer != 0 &&
         bit_rate != 15 && sample_rate != 3;
}

absl::string_view LooksLike(absl::string_view bytes) {
  for (const NamedFormat& format : kFormats) {
    if (HasMagic(bytes, format.magic)) return format.name;
  }
  return "";
}

std::string MimeEssence(absl::string_view mime_type) {
  return absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(mime_type.substr(0, mime_type.find(';'))));
}

}  // namespace softsplice
