// First bytes and mime types of sound formats.
#include "encoder_svc/audio/format.h"

#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/media/sniff.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr absl::string_view kSupported = "WAV, FLAC, OGG (Vorbis, Opus) and MP3 are supported";

struct KnownMime {
  absl::string_view mime;
  SoundFormat format;
};

constexpr KnownMime kMimes[] = {
    {"audio/wav", SoundFormat::kWav},      {"audio/x-wav", SoundFormat::kWav},
    {"audio/wave", SoundFormat::kWav},     {"audio/vnd.wave", SoundFormat::kWav},
    {"audio/x-pn-wav", SoundFormat::kWav}, {"audio/flac", SoundFormat::kFlac},
    {"audio/x-flac", SoundFormat::kFlac},  {"audio/ogg", SoundFormat::kOgg},
    {"audio/x-ogg", SoundFormat::kOgg},    {"application/ogg", SoundFormat::kOgg},
    {"audio/opus", SoundFormat::kOgg},     {"audio/vorbis", SoundFormat::kOgg},
    {"audio/mpeg", SoundFormat::kMp3},     {"audio/mp3", SoundFormat::kMp3},
    {"audio/x-mp3", SoundFormat::kMp3},    {"audio/mpeg3", SoundFormat::kMp3},
    {"audio/x-mpeg", SoundFormat::kMp3},   {"audio/x-mpeg-3", SoundFormat::kMp3},
    {"audio/l16", SoundFormat::kPcm},
};

// What stands behind an ID3v2 tag, which MP3 and (wrongly) FLAC files may begin with: "ID3",
// version (2 bytes), flags, and the rest's length in four bytes of 7 bits.
absl::string_view SkipId3(absl::string_view bytes) {
  constexpr size_t kHeader = 10;
  if (bytes.size() < kHeader || !HasMagic(bytes, {0, "ID3"})) return bytes;
  size_t length = 0;
  for (const char c : bytes.substr(6, 4)) length = length << 7 | (static_cast<uint8_t>(c) & 0x7F);
  return length < bytes.size() - kHeader ? bytes.substr(kHeader + length) : absl::string_view();
}

std::optional<SoundFormat> Sniff(absl::string_view bytes) {
  const bool riff =
      HasMagic(bytes, {0, "RIFF"}) || HasMagic(bytes, {0, "RIFX"}) || HasMagic(bytes, {0, "RF64"});
  if (riff && HasMagic(bytes, {8, "WAVE"})) return SoundFormat::kWav;
  if (HasMagic(bytes, {0, "OggS"})) return SoundFormat::kOgg;
  const absl::string_view rest = SkipId3(bytes);
  if (HasMagic(rest, {0, "fLaC"})) return SoundFormat::kFlac;
  // Behind a tag there may be padding before the first frame.
  if (IsMpegFrame(rest) || HasMagic(bytes, {0, "ID3"})) return SoundFormat::kMp3;
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
    case SoundFormat::kPcm:
      return "raw PCM";
  }
  return "";
}

absl::StatusOr<SoundType> FindSoundType(absl::string_view bytes, absl::string_view mime_type) {
  std::string mime = MimeEssence(mime_type);
  if (mime == "application/octet-stream") mime.clear();
  std::optional<SoundFormat> stated;
  for (const KnownMime& known : kMimes) {
    if (known.mime == mime) stated = known.format;
  }
  if (!mime.empty() && !stated) {
    return InvalidField("mime_type",
                        absl::StrCat("mime type ", mime, " is not supported; audio/wav, ",
                                     "audio/flac, audio/ogg, audio/mpeg and audio/L16 are"));
  }
  if (bytes.empty()) return InvalidMedia("the sound is empty (0 bytes)");
  const std::optional<SoundFormat> found = Sniff(bytes);
  if (stated == SoundFormat::kPcm) {
    // Samples may well look like an MP3 frame, but not like the other formats' names.
    if (found && *found != SoundFormat::kMp3) return Contradiction(mime, *found);
    return ParsePcm(mime_type);
  }
  if (!found) return InvalidMedia(absl::StrCat(Unreadable(bytes), "; ", kSupported));
  if (stated && *stated != *found) return Contradiction(mime, *found);
  return SoundType{.format = *found};
}

}  // namespace softsplice
