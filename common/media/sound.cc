#include "common/media/sound.h"

#include "absl/strings/match.h"
#include "common/media/sniff.h"

namespace softsplice {
namespace {

// FLAC, OGG, MP3 with a tag, WAV, AIFF, AU, CAF, AMR, M4A, AAC in ADTS frames, WMA.
constexpr Magic kSounds[] = {
    {0, "fLaC"},
    {0, "OggS"},
    {0, "ID3"},
    {8, "WAVE"},
    {8, "AIFF"},
    {8, "AIFC"},
    {0, ".snd"},
    {0, "caff"},
    {0, "#!AMR"},
    {4, "ftypM4A"},
    {0, "\xff\xf1"},
    {0, "\xff\xf9"},
    {0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"},
};

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
  return IsMpegFrame(data);
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
