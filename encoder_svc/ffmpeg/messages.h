// What softsplice-ffmpeg writes to standard output: messages, each a header and as many bytes as it
// says, in the machine's byte order.
#pragma once

#include <cstdint>

namespace softsplice {

enum class FfmpegMessage : uint32_t {
  kLength,       // int64: microseconds that the file says it lasts; at most once, first
  kSamples,      // SampleForm, then float samples of whole frames, interleaved
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

// Of a message, behind its header.
inline constexpr uint32_t kMostFfmpegMessageBytes = 1 << 20;
// What it may allocate, and with that and a file in memory, what it takes besides the file.
inline constexpr uint64_t kFfmpegHeapBytes = 64 << 20;
inline constexpr uint64_t kFfmpegProcessBytes = 96 << 20;

}  // namespace softsplice
