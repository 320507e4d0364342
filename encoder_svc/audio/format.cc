// First bytes and mime types of sound formats.
#include "encoder_svc/audio/format.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/media/mpeg.h"
#include "common/media/sniff.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr absl::string_view kSupported =
    "WAV, FLAC, OGG (Vorbis, Opus), MP3, M4A (AAC) and WebM are supported";

struct KnownMime {
  absl::string_view mime;
  SoundFormat format;
};

constexpr KnownMime kMimes[] = {
    {"audio/wav", SoundFormat::kWav},          {"audio/x-wav", SoundFormat::kWav},
    {"audio/wave", SoundFormat::kWav},         {"audio/vnd.wave", SoundFormat::kWav},
    {"audio/vnd.wav", SoundFormat::kWav},      {"audio/x-pn-wav", SoundFormat::kWav},
    {"audio/flac", SoundFormat::kFlac},        {"audio/x-flac", SoundFormat::kFlac},
    {"audio/ogg", SoundFormat::kOgg},          {"audio/x-ogg", SoundFormat::kOgg},
    {"audio/oga", SoundFormat::kOgg},          {"application/ogg", SoundFormat::kOgg},
    {"video/ogg", SoundFormat::kOgg},          {"audio/opus", SoundFormat::kOgg},
    {"audio/x-opus+ogg", SoundFormat::kOgg},   {"audio/vorbis", SoundFormat::kOgg},
    {"audio/x-vorbis+ogg", SoundFormat::kOgg}, {"audio/mpeg", SoundFormat::kMp3},
    {"audio/mp3", SoundFormat::kMp3},          {"audio/x-mp3", SoundFormat::kMp3},
    {"audio/mpeg3", SoundFormat::kMp3},        {"audio/x-mpeg", SoundFormat::kMp3},
    {"audio/x-mpeg-3", SoundFormat::kMp3},     {"audio/mpga", SoundFormat::kMp3},
    {"audio/mp4", SoundFormat::kMp4},          {"audio/m4a", SoundFormat::kMp4},
    {"audio/x-m4a", SoundFormat::kMp4},        {"audio/3gpp", SoundFormat::kMp4},
    {"video/mp4", SoundFormat::kMp4},          {"video/quicktime", SoundFormat::kMp4},
    {"audio/aac", SoundFormat::kAac},          {"audio/x-aac", SoundFormat::kAac},
    {"audio/aacp", SoundFormat::kAac},         {"audio/webm", SoundFormat::kWebm},
    {"video/webm", SoundFormat::kWebm},        {"audio/x-matroska", SoundFormat::kWebm},
    {"video/x-matroska", SoundFormat::kWebm},  {"audio/l16", SoundFormat::kPcm},
};

// AAC has frames of its own, or lies in an MP4: both are called either.
bool AreOne(SoundFormat a, SoundFormat b) {
  const auto is_aac = [](SoundFormat format) {
    return format == SoundFormat::kMp4 || format == SoundFormat::kAac;
  };
  return a == b || (is_aac(a) && is_aac(b));
}

// What stands behind one: "ID3", version (2 bytes), flags, and the rest's length in four bytes of 7
// bits; a flag says that ten bytes more repeat its beginning.
absl::string_view BehindTag(absl::string_view bytes) {
  constexpr size_t kHeader = 10;
  constexpr uint8_t kHasFooter = 0x10;
  if (bytes.size() < kHeader) return bytes.substr(bytes.size());
  size_t length = (static_cast<uint8_t>(bytes[5]) & kHasFooter) != 0 ? kHeader : 0;
  size_t stated = 0;
  for (const char c : bytes.substr(6, 4)) stated = stated << 7 | (static_cast<uint8_t>(c) & 0x7F);
  length += stated;
  return bytes.substr(std::min(kHeader + length, bytes.size()));
}

// The frames of AAC's own stream (ADTS).
bool IsAdtsFrame(absl::string_view bytes) {
  return bytes.size() >= 2 && bytes[0] == '\xff' && (bytes[1] & 0xF6) == 0xF0;
}

bool IsMp4(absl::string_view bytes) {
  return HasMagic(bytes, {4, "ftyp"}) && FindNamedFormat(bytes)->kind != ContentKind::kPicture;
}

std::optional<SoundFormat> Sniff(absl::string_view bytes) {
  const absl::string_view rest = BehindTags(bytes);
  const bool riff = HasMagic(rest, {0, "RIFF"}) || HasMagic(rest, {0, "RIFX"}) ||
                    HasMagic(rest, {0, "RF64"}) || HasMagic(rest, {0, "BW64"});
  if (riff && HasMagic(rest, {8, "WAVE"})) return SoundFormat::kWav;
  if (HasMagic(rest, {0, "OggS"})) return SoundFormat::kOgg;
  if (HasMagic(rest, {0, "fLaC"})) return SoundFormat::kFlac;
  if (HasMagic(rest, {0, "\x1a\x45\xdf\xa3"})) return SoundFormat::kWebm;
  if (IsMp4(rest)) return SoundFormat::kMp4;
  if (IsAdtsFrame(rest)) return SoundFormat::kAac;
  // Behind a tag there may be padding before the first frame.
  if (IsMpegFrame(rest) || rest.size() < bytes.size()) return SoundFormat::kMp3;
  // What has a name is nothing that looks like MP3 by chance.
  const bool named = FindNamedFormat(rest) != nullptr;
  if (!named && FindMp3Frames(rest) != absl::string_view::npos) return SoundFormat::kMp3;
  return std::nullopt;
}

absl::Status ParsePcmParameter(absl::string_view name, absl::string_view value, SoundType& type) {
  const auto number = [&](int& out) {
    if (absl::SimpleAtoi(value, &out) && out > 0) return absl::OkStatus();
    return InvalidField("mime_type", absl::StrCat("parameter ", name, " of audio/L16 is \"", value,
                                                  "\"; it must be a positive number"));
  };
  if (name == "rate") return number(type.rate);
  if (name == "channels") return number(type.channels);
  if (name != "endianness") return absl::OkStatus();
  type.little_endian = value == "little-endian";
  if (type.little_endian || value == "big-endian") return absl::OkStatus();
  return InvalidField("mime_type", absl::StrCat("parameter endianness of audio/L16 is \"", value,
                                                "\"; it must be big-endian or little-endian"));
}

absl::StatusOr<SoundType> ParsePcm(absl::string_view mime_type) {
  SoundType type{.format = SoundFormat::kPcm};
  for (const absl::string_view parameter : absl::StrSplit(mime_type, ';')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(parameter, absl::MaxSplits('=', 1));
    const std::string name = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.first));
    RETURN_IF_ERROR(ParsePcmParameter(name, absl::StripAsciiWhitespace(parts.second), type));
  }
  if (type.rate == 0) {
    return InvalidField("mime_type",
                        "audio/L16 needs the parameter rate, as in audio/L16;rate=16000");
  }
  return type;
}

absl::Status Contradiction(absl::string_view mime, SoundFormat found) {
  return InvalidField("mime_type", absl::StrCat("mime type ", mime,
                                                " contradicts the bytes, which are ", Name(found)));
}

std::string Unreadable(absl::string_view bytes) {
  const std::string name = LooksLike(bytes);
  if (name.empty()) return "the bytes are not a sound in a format that can be read";
  return absl::StrCat("the bytes look like ", name, ", which can't be read as a sound");
}

}  // namespace

absl::string_view Name(SoundFormat format) {
  switch (format) {
    case SoundFormat::kWav:
      return "WAV";
    case SoundFormat::kFlac:
      return "FLAC";
    case SoundFormat::kOgg:
      return "OGG";
    case SoundFormat::kMp3:
      return "MP3";
    case SoundFormat::kMp4:
      return "MP4";
    case SoundFormat::kAac:
      return "AAC";
    case SoundFormat::kWebm:
      return "WebM";
    case SoundFormat::kPcm:
      return "raw PCM";
  }
  return "";
}

bool NeedsFfmpeg(SoundFormat format) {
  return format == SoundFormat::kMp4 || format == SoundFormat::kAac || format == SoundFormat::kWebm;
}

absl::string_view BehindTags(absl::string_view bytes) {
  while (HasMagic(bytes, {0, "ID3"})) bytes = BehindTag(bytes);
  return bytes;
}

absl::StatusOr<SoundType> FindSoundType(absl::string_view bytes, absl::string_view mime_type) {
  const std::string mime = MimeEssence(mime_type);
  std::optional<SoundFormat> stated;
  for (const KnownMime& known : kMimes) {
    if (known.mime == mime) stated = known.format;
  }
  if (bytes.empty()) return InvalidMedia("the sound is empty (0 bytes)");
  const std::optional<SoundFormat> found = Sniff(bytes);
  if (stated == SoundFormat::kPcm) {
    // Samples may well look like frames of MP3 or AAC, but not like the other formats' names.
    const bool named = found && *found != SoundFormat::kMp3 && *found != SoundFormat::kAac;
    if (named) return Contradiction(mime, *found);
    return ParsePcm(mime_type);
  }
  if (!found) return InvalidMedia(absl::StrCat(Unreadable(bytes), "; ", kSupported));
  if (absl::StartsWith(mime, "image/") || (stated && !AreOne(*stated, *found))) {
    return Contradiction(mime, *found);
  }
  return SoundType{.format = *found, .sound_alone = absl::StartsWith(mime, "audio/")};
}

}  // namespace softsplice
