// The sound of a file that FFmpeg reads. Part of softsplice-ffmpeg.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "encoder_svc/ffmpeg/stream.h"

namespace softsplice {

struct FfmpegSoundTask {
  std::string format;        // "mp4", "webm" (Matroska, too) or "aac" (ADTS)
  bool sound_alone = false;  // of a file that has a video as well; else such a file is unreadable
};

// Writes the samples of the file's best stream as FFmpeg's own command would, without the encoder's
// padding and what edit lists leave out. A last frame that was cut is left out where the format
// does not tell where it ends (ADTS).
void DecodeFfmpegSound(absl::string_view file, const FfmpegSoundTask& task,
                       const FfmpegWriter& write);

}  // namespace softsplice
