// What softsplice-ffmpeg writes to standard output: messages, each a header and as many bytes as it
// says, in the machine's byte order.
#pragma once

#include <cstdint>

namespace softsplice {

enum class FfmpegMessage : uint32_t {
  kLength,       // int64: microseconds that the file says it lasts; at most once, first
  kSamples,      // SampleForm, then float samples of whole frames, interleaved
  kVideo,        // VideoForm, then int64 for each frame that comes: when, in nanoseconds; the first
  kPixels,       // bytes of the frames, one behind another: RGB, rows from the top, without padding
  kUnreadable,   // text: what is wrong with the file ("has no sound"); the last
  kOutOfMemory,  // nothing; the last
  kEnd,          // nothing; the last: that was all of it
};

struct FfmpegMessageHeader {
  FfmpegMessage kind;
  uint32_t bytes;
};

struct SampleForm {
  uint32_t rate;
  uint32_t channels;
};

struct VideoForm {
  uint32_t width;  // upright
  uint32_t height;
  uint32_t has_sound;  // 0 or 1
  uint32_t frames;     // that come
  int64_t duration;    // nanoseconds
};

// Of a message, behind its header.
inline constexpr uint32_t kMostFfmpegMessageBytes = 1 << 20;
// What it may allocate, and with that and a file in memory, what it takes besides the file.
inline constexpr uint64_t kFfmpegHeapBytes = 64 << 20;
inline constexpr uint64_t kFfmpegProcessBytes = 96 << 20;
// The same for videos. Decoders keep the pictures that others are made from, of which there may be
// sixteen: what phones and encoders make at 3840 x 2160, in 10 bits, too, takes up to 300 MiB.
inline constexpr uint64_t kFfmpegVideoHeapBytes = 384 << 20;
inline constexpr uint64_t kFfmpegVideoProcessBytes = 416 << 20;

}  // namespace softsplice
