#include "deploy/cli/media.h"

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/media/kind.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "deploy/cli/files.h"
#include "deploy/cli/terminal.h"
#include "encoder_svc/audio/decode.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/image/header.h"

namespace softsplice {
namespace {

absl::StatusOr<std::string> ReadMedia(const std::string& path, Interrupts& interrupts) {
  if (path == kStream && isatty(STDIN_FILENO) != 0) {
    return absl::InvalidArgumentError(
        "standard input is the terminal; pipe a sound into it, as in `arecord -f cd | softsplice "
        "chat --audio - \"What is said?\"`, a picture for --image -, or a video for --video -");
  }
  ASSIGN_OR_RETURN(std::string data, ReadFile(path, interrupts));
  if (path == kStream && data.empty()) {
    return absl::InvalidArgumentError("what came on standard input is empty");
  }
  return data;
}

std::string NameOf(const std::string& path) {
  return path == kStream ? "what came on standard input" : path;
}

absl::Status GiveItWith(const std::string& path, absl::string_view kind, absl::string_view name) {
  return absl::InvalidArgumentError(absl::StrCat(NameOf(path), " is a ", kind, "; give it with --",
                                                 name, " (in a conversation: /", name, ")"));
}

absl::Status IsNone(const std::string& path, absl::string_view data, absl::string_view kind,
                    absl::string_view formats) {
  return absl::InvalidArgumentError(
      absl::StrCat(NameOf(path), data.empty() ? " is empty" : absl::StrCat(" is no ", kind), "; ",
                   formats, " are read"));
}

absl::StatusOr<v1::Part> PicturePart(const std::string& path, uint32_t budget, std::string data) {
  const ContentKind kind = KindOf("", data);
  if (kind == ContentKind::kSound) return GiveItWith(path, "sound", "audio");
  if (kind == ContentKind::kVideo) return GiveItWith(path, "video", "video");
  v1::Part part;
  part.mutable_media()->set_data(std::move(data));
  part.mutable_media()->set_max_soft_tokens(budget);
  return part;
}

// That the sound of the video `data` is meant.
std::string SoundAlone(absl::string_view data) {
  return HasMagic(data, {0, "\x1a\x45\xdf\xa3"}) ? "audio/webm" : "audio/mp4";
}

absl::StatusOr<v1::Part> SoundPart(const std::string& path, std::string data) {
  const ContentKind kind = KindOf("", data);
  const absl::string_view named = TypeOfName(path);
  v1::Part part;
  v1::Media& media = *part.mutable_media();
  if (kind == ContentKind::kVideo) {
    media.set_mime_type(SoundAlone(data));
  } else if (kind != ContentKind::kSound) {
    if (!absl::StartsWith(named, "audio/")) {
      return IsNone(path, data, "sound", "WAV, FLAC, OGG (Vorbis, Opus), MP3, M4A (AAC) and WebM");
    }
    media.set_mime_type(std::string(named));  // it begins oddly: the server has a closer look
  }
  media.set_data(std::move(data));
  return part;
}

absl::StatusOr<v1::Part> VideoPart(const std::string& path, const MediaOptions& options,
                                   std::string data) {
  FileContent content = ContentOf(path, data);
  if (content.kind == ContentKind::kPicture) return GiveItWith(path, "picture", "image");
  if (content.kind == ContentKind::kSound) return GiveItWith(path, "sound", "audio");
  if (content.kind == ContentKind::kNeither) {
    return IsNone(path, data, "video", "MP4, MOV, WebM and Matroska");
  }
  v1::Part part;
  v1::Media& media = *part.mutable_media();
  media.set_data(std::move(data));
  media.set_mime_type(std::move(content.mime_type));
  media.set_max_soft_tokens(options.budget);
  media.set_max_frames(options.frames);
  media.set_without_sound(options.no_sound);
  return part;
}

absl::StatusOr<v1::Part> SoftTokensPart(const std::string& path, const std::string& data) {
  v1::Part part;
  if (!part.mutable_soft_tokens()->ParseFromString(data) ||
      part.soft_tokens().header().rows() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(NameOf(path), " holds no soft tokens; `softsplice encode` makes such files"));
  }
  return part;
}

std::string SizeOfPicture(const v1::Media& media) {
  const auto header =
      ReadImageHeader(media.data(), "", {.max_bytes = kMaxFileBytes, .max_pixels = UINT64_MAX});
  if (!header.ok()) return BytesForPeople(media.data().size());
  return absl::StrCat(header->UprightWidth(), " x ", header->UprightHeight());
}

std::string LengthOfSound(const v1::Media& media, Interrupts& interrupts) {
  const SoundLimits limits = {
      .max_bytes = kMaxFileBytes, .max_duration = absl::Hours(1), .go_on = [&] {
        return interrupts.raised() ? absl::CancelledError("interrupted") : absl::OkStatus();
      }};
  const auto header = ReadSoundHeader(media.data(), media.mime_type(), limits);
  std::optional<int64_t> samples;
  if (header.ok()) samples = header->samples;
  if (header.ok() && !samples) {
    const auto sound = DecodeSound(media.data(), header->type, limits);
    if (sound.ok()) samples = static_cast<int64_t>(sound->size());
  }
  if (!samples) return BytesForPeople(media.data().size());
  return absl::StrFormat("%.1f s", static_cast<double>(*samples) / kSampleRate);
}

}  // namespace

FileContent ContentOf(const std::string& path, absl::string_view data) {
  const ContentKind found = KindOf("", data);
  if (found == ContentKind::kPicture || found == ContentKind::kVideo) return {.kind = found};
  const absl::string_view named = TypeOfName(path);
  const ContentKind kind = KindOf(named, data);
  if (kind == found) return {.kind = found};
  return {.kind = kind, .mime_type = std::string(named)};
}

absl::StatusOr<v1::Part> MediaPart(const MediaFile& file, const MediaOptions& options,
                                   Interrupts& interrupts) {
  ASSIGN_OR_RETURN(std::string data, ReadMedia(file.path, interrupts));
  switch (file.kind) {
    case FileKind::kImage:
      return PicturePart(file.path, options.budget, std::move(data));
    case FileKind::kAudio:
      return SoundPart(file.path, std::move(data));
    case FileKind::kVideo:
      return VideoPart(file.path, options, std::move(data));
    case FileKind::kSoft:
      return SoftTokensPart(file.path, data);
  }
  return absl::InternalError("no kind of media");
}

std::string SayAdded(const MediaFile& file, const v1::Part& part, Interrupts& interrupts) {
  const std::string name = PrintableText(std::filesystem::path(file.path).filename().string());
  switch (file.kind) {
    case FileKind::kImage:
      return absl::StrCat("picture added: ", name, ", ", SizeOfPicture(part.media()));
    case FileKind::kAudio:
      return absl::StrCat("sound added: ", name, ", ", LengthOfSound(part.media(), interrupts));
    case FileKind::kVideo:
      return absl::StrCat("video added: ", name, ", ", BytesForPeople(part.media().data().size()));
    case FileKind::kSoft:
      return absl::StrCat("soft tokens added: ", name, ", ", part.soft_tokens().header().rows(),
                          " rows");
  }
  return name;
}

}  // namespace softsplice
