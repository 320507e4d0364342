// A media file in memory, opened by FFmpeg's demuxers. Part of softsplice-ffmpeg.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "common/media/memory_file.h"

struct AVFormatContext;
struct AVIOContext;

namespace softsplice {

// What FFmpeg calls an error.
std::string FfmpegError(int code);

// Not thread-safe, not movable: FFmpeg reads from it.
class FfmpegInput {
 public:
  // Nothing but this demuxer and these decoders (FFmpeg's names, with commas between) is used, and
  // nothing opened that the file may name. `file` outlives it.
  FfmpegInput(absl::string_view file, const char* demuxer, std::string decoders);
  ~FfmpegInput();
  FfmpegInput(const FfmpegInput&) = delete;
  FfmpegInput& operator=(const FfmpegInput&) = delete;

  // Reads what the header says of the streams. An AVERROR if it can't be read.
  int Open();
  // Looks into the packets for what the header leaves out of them. The same.
  int FindStreamInfo();
  AVFormatContext* format() const { return format_; }

 private:
  MemoryFile file_;
  const char* demuxer_;
  std::string decoders_;
  AVIOContext* io_ = nullptr;
  AVFormatContext* format_ = nullptr;
};

}  // namespace softsplice
