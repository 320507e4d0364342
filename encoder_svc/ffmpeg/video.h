// The frames of a video that FFmpeg reads. Part of softsplice-ffmpeg.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "encoder_svc/ffmpeg/stream.h"

namespace softsplice {

struct FfmpegVideoTask {
  std::string format;  // "mp4" (MOV, too) or "webm" (Matroska, too)
  int frames = 0;      // at most so many, at even distances; 1 or more
};

// Writes what the file's best stream of pictures is like, then its frames. They are counted, timed,
// found, turned upright and converted to RGB as torchcodec does in its exact mode, which the
// official processor reads videos with.
void DecodeFfmpegVideo(absl::string_view file, const FfmpegVideoTask& task,
                       const FfmpegWriter& write);

}  // namespace softsplice
