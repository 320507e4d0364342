// Frames as pixels. Part of softsplice-ffmpeg.
#pragma once

#include <memory>
#include <string>

#include "encoder_svc/ffmpeg/stream.h"

struct SwsContext;

namespace softsplice {

// By how many quarters of a turn, counter-clockwise, a stream's pictures are to be turned: 0 to 3.
int QuarterTurns(const AVStream& stream);

// Converts frames to RGB and writes them. Not thread-safe.
class PixelWriter {
 public:
  explicit PixelWriter(const FfmpegWriter& write) : write_(write) {}

  // With all of its pixels turned; `wanted` becomes false if nobody wants more.
  FfmpegFault Write(const AVFrame& frame, int quarter_turns, bool& wanted);

 private:
  struct FreeSws {
    void operator()(SwsContext* context) const;
  };

  FfmpegFault Convert(const AVFrame& frame);
  FfmpegFault Prepare(const AVFrame& frame);
  bool WriteTurned(int quarter_turns);

  const FfmpegWriter& write_;
  std::unique_ptr<SwsContext, FreeSws> sws_;
  FfmpegFrame like_;  // what sws_ is for
  FfmpegFrame rgb_;
  std::string message_;
};

}  // namespace softsplice
