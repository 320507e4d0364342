// See decode.h.
#include "encoder_svc/audio/decode.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "encoder_svc/audio/ffmpeg.h"
#include "encoder_svc/audio/format.h"
#include "encoder_svc/audio/mono.h"
#include "encoder_svc/audio/mp3.h"
#include "encoder_svc/audio/ogg.h"
#include "encoder_svc/audio/sndfile.h"
#include "encoder_svc/audio/wav.h"
#include "encoder_svc/ffmpeg/process.h"

namespace softsplice {
namespace {

// What a client sends with the mime type is its field's fault.
absl::Status InMimeType(const absl::Status& status) {
  return status.ok() ? status : InvalidField("mime_type", status.message());
}

size_t FrameBytes(const SoundType& pcm) { return 2 * static_cast<size_t>(pcm.channels); }

// The sink for raw PCM of a length that is allowed.
absl::StatusOr<MonoSink> OpenPcm(absl::string_view bytes, const SoundType& type,
                                 const SoundLimits& limits) {
  absl::StatusOr<MonoSink> sink = MonoSink::Make(type.rate, type.channels, limits);
  RETURN_IF_ERROR(InMimeType(sink.status()));
  const size_t frame = FrameBytes(type);
  if (bytes.size() % frame != 0) {
    return InvalidMedia(
        absl::StrCat("the raw PCM has ", bytes.size(), " bytes, no multiple of a frame's ", frame));
  }
  RETURN_IF_ERROR(sink->CheckLength(static_cast<int64_t>(bytes.size() / frame)));
  return sink;
}

absl::StatusOr<std::vector<float>> DecodePcm(absl::string_view bytes, const SoundType& type,
                                             const SoundLimits& limits) {
  ASSIGN_OR_RETURN(MonoSink sink, OpenPcm(bytes, type, limits));
  const size_t frame = FrameBytes(type);
  sink.Reserve(static_cast<int64_t>(bytes.size() / frame));
  const size_t high = type.little_endian ? 1 : 0;
  std::vector<float> block;
  while (!bytes.empty()) {
    const absl::string_view part = bytes.substr(0, frame * 4096);
    bytes.remove_prefix(part.size());
    block.clear();
    for (size_t at = 0; at < part.size(); at += 2) {
      const auto bits = static_cast<uint16_t>(static_cast<uint8_t>(part[at + high]) << 8 |
                                              static_cast<uint8_t>(part[at + 1 - high]));
      block.push_back(static_cast<float>(static_cast<int16_t>(bits)) / 32768);
    }
    RETURN_IF_ERROR(sink.Add(block));
  }
  return sink.Finish();
}

// INVALID_ARGUMENT: it was cut off.
absl::StatusOr<Wav> OpenWav(absl::string_view bytes) {
  Wav wav = ReadWav(bytes);
  if (wav.truncated) return InvalidMedia("the WAV is truncated");
  return wav;
}

absl::StatusOr<std::optional<int64_t>> WavLength(absl::string_view bytes,
                                                 const SoundLimits& limits) {
  ASSIGN_OR_RETURN(Wav wav, OpenWav(bytes));
  if (wav.mpeg) return std::nullopt;
  return LengthWithSndfile(std::move(wav.file), SoundFormat::kWav, limits);
}

absl::StatusOr<std::vector<float>> DecodeWav(absl::string_view bytes, const SoundLimits& limits) {
  ASSIGN_OR_RETURN(Wav wav, OpenWav(bytes));
  if (wav.mpeg) return DecodeMp3(*wav.mpeg, limits);
  return DecodeWithSndfile(std::move(wav.file), SoundFormat::kWav, limits);
}

absl::StatusOr<std::optional<int64_t>> FindLength(absl::string_view bytes, const SoundType& type,
                                                  const SoundLimits& limits) {
  switch (type.format) {
    case SoundFormat::kPcm: {
      ASSIGN_OR_RETURN(const MonoSink sink, OpenPcm(bytes, type, limits));
      return sink.OutputSamples(static_cast<int64_t>(bytes.size() / FrameBytes(type)));
    }
    case SoundFormat::kWav:
      return WavLength(bytes, limits);
    case SoundFormat::kFlac:
      return LengthWithSndfile(MemoryFile(bytes), type.format, limits);
    case SoundFormat::kMp4:
    case SoundFormat::kAac:
    case SoundFormat::kWebm:
      RETURN_IF_ERROR(CheckFfmpeg(limits.ffmpeg, Name(type.format)));
      break;
    case SoundFormat::kMp3:
    case SoundFormat::kOgg:
      break;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<float>> Decode(absl::string_view bytes, const SoundType& type,
                                          const SoundLimits& limits) {
  switch (type.format) {
    case SoundFormat::kPcm:
      return DecodePcm(bytes, type, limits);
    case SoundFormat::kMp3:
      return DecodeMp3(bytes, limits);
    case SoundFormat::kOgg:
      return DecodeOgg(bytes, limits);
    case SoundFormat::kWav:
      return DecodeWav(bytes, limits);
    case SoundFormat::kFlac:
      return DecodeWithSndfile(MemoryFile(bytes), type.format, limits);
    case SoundFormat::kMp4:
    case SoundFormat::kAac:
    case SoundFormat::kWebm:
      return DecodeWithFfmpeg(bytes, type, limits);
  }
  return absl::InternalError("unknown sound format");
}

// What is to be decoded of a file: all of it, or what stands behind tags.
absl::string_view Body(absl::string_view bytes, const SoundType& type) {
  return type.format == SoundFormat::kPcm ? bytes : BehindTags(bytes);
}

}  // namespace

absl::StatusOr<SoundHeader> ReadSoundHeader(absl::string_view bytes, absl::string_view mime_type,
                                            const SoundLimits& limits) {
  if (bytes.size() > limits.max_bytes) {
    return OverLimit("data", absl::StrCat("the sound has ", bytes.size(), " bytes; at most ",
                                          limits.max_bytes, " are allowed"));
  }
  ASSIGN_OR_RETURN(const SoundType type, FindSoundType(bytes, mime_type));
  ASSIGN_OR_RETURN(const std::optional<int64_t> samples,
                   FindLength(Body(bytes, type), type, limits));
  return SoundHeader{.type = type, .samples = samples};
}

absl::StatusOr<std::vector<float>> DecodeSound(absl::string_view bytes, const SoundType& type,
                                               const SoundLimits& limits) {
  return Decode(Body(bytes, type), type, limits);
}

}  // namespace softsplice
