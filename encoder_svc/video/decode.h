// A video's frames, read by FFmpeg in a process of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/image/picture.h"

namespace softsplice {

enum class VideoFormat { kMp4, kWebm };  // MOV is MP4, Matroska WebM

absl::string_view Name(VideoFormat format);  // "MP4"

struct VideoLimits {
  uint64_t max_bytes = 32 << 20;
  uint64_t max_pixels = 0;  // of a frame
  absl::Duration max_duration = absl::Minutes(10);
  // The path of softsplice-ffmpeg; empty: no video can be read.
  std::string ffmpeg;
  uint64_t heap_bytes = kFfmpegVideoHeapBytes;  // that it may allocate
  // Asked ten times a second at least: its error ends the decoding.
  std::function<absl::Status()> go_on = [] { return absl::OkStatus(); };
};

// What is known before the first frame.
struct VideoHeader {
  int width = 0;  // upright: after the rotation that the file asks for
  int height = 0;
  absl::Duration duration;
  bool has_sound = false;
  // Of each frame that will come, in order: its number over the average rate (VideoMetadata's
  // `timestamps` in transformers), rounded down to nanoseconds: 0.9999999999999999 s is no second.
  std::vector<absl::Duration> times;
};

struct VideoReceiver {
  // An error of either ends the decoding.
  std::function<absl::Status(const VideoHeader& header)> on_header;
  std::function<absl::Status(Picture frame)> on_frame;
};

// What `bytes` are. They decide, as for pictures. INVALID_ARGUMENT: no bytes, not MP4 nor WebM, a
// type that contradicts them, or limits.ffmpeg is not there. RESOURCE_EXHAUSTED: over max_bytes.
absl::StatusOr<VideoFormat> FindVideoFormat(absl::string_view bytes, absl::string_view mime_type,
                                            const VideoLimits& limits);

// Brings `max_frames` frames at even distances, or all if there are no more (where transformers
// refuses): frame i is number i * total / max_frames, as default_sample_indices_fn of transformers'
// video_utils.py.
// INVALID_ARGUMENT: corrupt or truncated, no video in it, a coding that we don't read.
// RESOURCE_EXHAUSTED: longer or larger than allowed, told before it is decoded; too slow to decode,
// or memory is short. What the receiver and go_on say.
absl::Status DecodeVideo(absl::string_view bytes, VideoFormat format, int max_frames,
                         const VideoLimits& limits, const VideoReceiver& receiver);

}  // namespace softsplice
