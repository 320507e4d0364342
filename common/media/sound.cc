#include "common/media/sound.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "common/media/sniff.h"

namespace softsplice {
namespace {

constexpr Magic kSounds[] = {
    {0, "fLaC"},
    {0, "OggS"},
    {0, "ID3"},
    {8, "WAVE"},  // RIFF, RF64, RIFX
    {8, "AIFF"},
    {8, "AIFC"},
    {0, ".snd"},
    {0, "caff"},
    {0, "#!AMR"},
    {4, "ftypM4A"},
    {0, {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8}},  // WMA
};

// The header of an MPEG audio frame: eleven set bits, then a version, layer, bit rate and sampling
// rate that are in use. Layer 0 with the twelfth bit set is AAC (ADTS).
bool IsFrameHeader(absl::string_view data) {
  if (data.size() < 4) return false;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(data[i]); };
  if (byte(0) != 0xff || (byte(1) & 0xe0) != 0xe0) return false;
  const int version = (byte(1) >> 3) & 3;
  const int layer = (byte(1) >> 1) & 3;
  if (layer == 0) return (byte(1) & 0xf0) == 0xf0 && ((byte(2) >> 2) & 15) < 13;
  return version != 1 && byte(2) >> 4 != 15 && ((byte(2) >> 2) & 3) != 3;
}

struct Extension {
  absl::string_view ending;
  absl::string_view mime_type;
};

constexpr Extension kExtensions[] = {
    {".wav", "audio/wav"}, {".flac", "audio/flac"}, {".mp3", "audio/mpeg"},
    {".ogg", "audio/ogg"}, {".oga", "audio/ogg"},   {".opus", "audio/ogg"},
};

}  // namespace

bool LooksLikeSound(absl::string_view data) {
  for (const Magic& magic : kSounds) {
    if (HasMagic(data, magic)) return true;
  }
  return IsFrameHeader(data);
}

bool IsSound(absl::string_view mime_type, absl::string_view data) {
  if (absl::StartsWithIgnoreCase(mime_type, "audio/")) return true;
  if (absl::StartsWithIgnoreCase(mime_type, "image/")) return false;
  return LooksLikeSound(data);
}

absl::string_view SoundTypeOfName(absl::string_view file_name) {
  for (const Extension& extension : kExtensions) {
    if (absl::EndsWithIgnoreCase(file_name, extension.ending)) return extension.mime_type;
  }
  return "";
}

}  // namespace softsplice
