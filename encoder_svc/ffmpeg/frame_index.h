// Which frames a video has. Part of softsplice-ffmpeg.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder_svc/ffmpeg/stream.h"

namespace softsplice {

// Not thread-safe.
class FrameIndex {
 public:
  // Reads all packets of a file up to its end. A fault if there are no frames of `stream`, or some
  // are missing.
  FfmpegFault Scan(AVFormatContext& format, const AVStream& stream);

  int64_t size() const { return static_cast<int64_t>(frames_.size()); }
  // When frame `number` is shown, in the order in which they are; in the stream's time base.
  int64_t TimeOf(int64_t number) const { return frames_[static_cast<size_t>(number)].time; }
  // The last frame up to `time` from which decoding can begin; -1: there is none.
  int64_t KeyFrameAt(int64_t time) const;
  // Seconds from the first frame's beginning to the last one's end.
  double Duration() const;
  // Frames in a second: on average, or else as the header says.
  double Rate() const;

 private:
  struct Frame {
    int64_t time;
    bool key;
  };

  FfmpegFault Add(const AVPacket& packet);
  FfmpegFault CheckEnd(const AVFormatContext& format, const AVStream& stream) const;
  double Seconds(int64_t time) const;

  std::vector<Frame> frames_;
  int64_t packets_ = 0;  // those included that are decoded, but not shown
  int64_t begin_ = INT64_MAX;
  int64_t end_ = INT64_MIN;
  int64_t end_of_all_ = 0;  // of any stream, in microseconds
  AVRational time_base_{};
  AVRational stated_rate_{};
};

}  // namespace softsplice
