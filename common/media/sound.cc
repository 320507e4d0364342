#include "common/media/sound.h"

#include "absl/strings/match.h"
#include "common/media/mpeg.h"
#include "common/media/sniff.h"

namespace softsplice {
namespace {

struct Extension {
  absl::string_view ending;
  absl::string_view mime_type;
};

constexpr Extension kExtensions[] = {
    {".wav", "audio/wav"},   {".flac", "audio/flac"}, {".mp3", "audio/mpeg"}, {".ogg", "audio/ogg"},
    {".oga", "audio/ogg"},   {".opus", "audio/ogg"},  {".m4a", "audio/mp4"},  {".aac", "audio/aac"},
    {".weba", "audio/webm"}, {".mpga", "audio/mpeg"},
};

}  // namespace

bool LooksLikeSound(absl::string_view data) {
  const NamedFormat* format = FindNamedFormat(data);
  if (format != nullptr) return format->kind == MediaKind::kSound;
  return IsMpegFrame(data) || FindMp3Frames(data) != absl::string_view::npos;
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
