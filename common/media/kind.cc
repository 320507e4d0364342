// See kind.h.
#include "common/media/kind.h"

#include <optional>

#include "absl/strings/match.h"
#include "common/media/mpeg.h"
#include "common/media/tracks.h"

namespace softsplice {
namespace {

struct Extension {
  absl::string_view ending;
  absl::string_view mime_type;
};

constexpr Extension kExtensions[] = {
    {".wav", "audio/wav"},   {".flac", "audio/flac"},     {".mp3", "audio/mpeg"},
    {".ogg", "audio/ogg"},   {".oga", "audio/ogg"},       {".opus", "audio/ogg"},
    {".m4a", "audio/mp4"},   {".aac", "audio/aac"},       {".weba", "audio/webm"},
    {".mpga", "audio/mpeg"}, {".mp4", "video/mp4"},       {".m4v", "video/mp4"},
    {".webm", "video/webm"}, {".mov", "video/quicktime"}, {".mkv", "video/x-matroska"},
};

// `unknown`: of a container that tells nothing of its tracks, as one that was cut off.
ContentKind KindInBytes(absl::string_view data, ContentKind unknown) {
  const NamedFormat* format = FindNamedFormat(data);
  if (format == nullptr) {
    const bool mp3 = IsMpegFrame(data) || FindMp3Frames(data) != absl::string_view::npos;
    return mp3 ? ContentKind::kSound : ContentKind::kNeither;
  }
  if (format->kind != ContentKind::kVideo) return format->kind;
  const std::optional<Tracks> tracks = FindTracks(data);
  if (!tracks || tracks->video) return ContentKind::kVideo;
  return tracks->sound ? ContentKind::kSound : unknown;
}

}  // namespace

ContentKind KindOf(absl::string_view mime_type, absl::string_view data) {
  if (absl::StartsWithIgnoreCase(mime_type, "audio/")) return ContentKind::kSound;
  if (absl::StartsWithIgnoreCase(mime_type, "image/")) return ContentKind::kPicture;
  if (!absl::StartsWithIgnoreCase(mime_type, "video/")) {
    return KindInBytes(data, ContentKind::kSound);
  }
  const ContentKind found = KindInBytes(data, ContentKind::kVideo);
  return found == ContentKind::kSound ? found : ContentKind::kVideo;
}

absl::string_view TypeOfName(absl::string_view file_name) {
  for (const Extension& extension : kExtensions) {
    if (absl::EndsWithIgnoreCase(file_name, extension.ending)) return extension.mime_type;
  }
  return "";
}

}  // namespace softsplice
