// See stream.h.
#include "encoder_svc/ffmpeg/stream.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "encoder_svc/ffmpeg/input.h"

namespace softsplice {
namespace {

constexpr FfmpegDecoder kSoundDecoders[] = {
    {AV_CODEC_ID_AAC, "aac"},   {AV_CODEC_ID_ALAC, "alac"},     {AV_CODEC_ID_MP3, "mp3float"},
    {AV_CODEC_ID_OPUS, "opus"}, {AV_CODEC_ID_VORBIS, "vorbis"},
};
constexpr FfmpegDecoder kVideoDecoders[] = {
    {AV_CODEC_ID_H264, "h264"},   {AV_CODEC_ID_HEVC, "hevc"},     {AV_CODEC_ID_VP8, "vp8"},
    {AV_CODEC_ID_VP9, "vp9"},     {AV_CODEC_ID_AV1, "libdav1d"},  {AV_CODEC_ID_MPEG4, "mpeg4"},
    {AV_CODEC_ID_MJPEG, "mjpeg"}, {AV_CODEC_ID_PRORES, "prores"},
};

}  // namespace

FfmpegFault FfmpegCorrupt(int error) {
  if (error == AVERROR(ENOMEM)) return "";
  return absl::StrCat("is truncated or corrupt: ", FfmpegError(error));
}

void WriteEnd(const FfmpegFault& fault, const FfmpegWriter& write) {
  if (!fault) {
    write(FfmpegMessage::kEnd, "");
  } else if (fault->empty()) {
    write(FfmpegMessage::kOutOfMemory, "");
  } else {
    write(FfmpegMessage::kUnreadable, *fault);
  }
}

const char* DemuxerOf(absl::string_view format) {
  return format == "mp4" ? "mov" : format == "webm" ? "matroska" : "aac";
}

absl::Span<const FfmpegDecoder> SoundDecoders() { return kSoundDecoders; }
absl::Span<const FfmpegDecoder> VideoDecoders() { return kVideoDecoders; }

std::string DecoderNames(absl::Span<const FfmpegDecoder> decoders) {
  return absl::StrJoin(decoders, ",", [](std::string* out, const FfmpegDecoder& decoder) {
    absl::StrAppend(out, decoder.name);
  });
}

FfmpegFault OpenCodec(const AVStream& stream, absl::Span<const FfmpegDecoder> decoders,
                      FfmpegCodec& codec) {
  const AVCodecID coding = stream.codecpar->codec_id;
  const AVCodec* found = nullptr;
  for (const FfmpegDecoder& decoder : decoders) {
    if (decoder.coding == coding) found = avcodec_find_decoder_by_name(decoder.name);
  }
  if (found == nullptr) {
    return absl::StrCat("is coded as ", avcodec_get_name(coding), ", which can't be read");
  }
  codec.reset(avcodec_alloc_context3(found));
  if (codec == nullptr) return "";
  int error = avcodec_parameters_to_context(codec.get(), stream.codecpar);
  codec->pkt_timebase = stream.time_base;
  codec->thread_count = 1;
  if (error >= 0) error = avcodec_open2(codec.get(), found, nullptr);
  return error < 0 ? FfmpegCorrupt(error) : std::nullopt;
}

}  // namespace softsplice
