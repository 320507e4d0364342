// What reading sounds and reading videos have in common. Part of softsplice-ffmpeg.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "encoder_svc/ffmpeg/messages.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

namespace softsplice {

template <class T, void (*Free)(T**)>
struct FfmpegFreed {
  void operator()(T* object) const { Free(&object); }
};
using FfmpegPacket = std::unique_ptr<AVPacket, FfmpegFreed<AVPacket, av_packet_free>>;
using FfmpegFrame = std::unique_ptr<AVFrame, FfmpegFreed<AVFrame, av_frame_free>>;
using FfmpegCodec =
    std::unique_ptr<AVCodecContext, FfmpegFreed<AVCodecContext, avcodec_free_context>>;

// Takes a message; false: nobody wants more.
using FfmpegWriter = std::function<bool(FfmpegMessage kind, absl::string_view bytes)>;

// What is wrong with a file, in words behind its format's name ("has no sound in it"), if anything
// is; "" is memory.
using FfmpegFault = std::optional<std::string>;

// That FFmpeg gave `error`.
FfmpegFault FfmpegCorrupt(int error);

// The last message: how reading ended.
void WriteEnd(const FfmpegFault& fault, const FfmpegWriter& write);

// FFmpeg's name for what reads a format of main.cc.
const char* DemuxerOf(absl::string_view format);

// A decoder that is used, of those that FFmpeg has for the coding.
struct FfmpegDecoder {
  AVCodecID coding;
  const char* name;
};
absl::Span<const FfmpegDecoder> SoundDecoders();
absl::Span<const FfmpegDecoder> VideoDecoders();
std::string DecoderNames(absl::Span<const FfmpegDecoder> decoders);  // as FfmpegInput takes them

// Opens `codec` for a stream, with one of `decoders`. A fault if none is for its coding.
FfmpegFault OpenCodec(const AVStream& stream, absl::Span<const FfmpegDecoder> decoders,
                      FfmpegCodec& codec);

}  // namespace softsplice
