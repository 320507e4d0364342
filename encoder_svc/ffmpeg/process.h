// FFmpeg's libraries, fenced in.
//
// They read many more formats than we could, in millions of lines of C that hostile files are
// written for. So they run in a process of their own, softsplice-ffmpeg, one for each file: it gets
// the file as an anonymous one in memory, may only compute, allocate up to a limit and write to its
// pipe (seccomp, rlimits), and is killed when nobody waits any more or its time is up. A thread
// would be 60 ms faster to start, but could not be ended inside of a decoder, nor survive its
// faults; the services don't load the libraries, so they start and run without them, too.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "encoder_svc/ffmpeg/messages.h"

namespace softsplice {

// The path of softsplice-ffmpeg beside this program, or in ../libexec/softsplice; empty: it is not
// there.
std::string FindFfmpeg();

// INVALID_ARGUMENT: `program` is none. `format`: what can't be read then, as "MP4".
absl::Status CheckFfmpeg(absl::string_view program, absl::string_view format);

struct FfmpegRun {
  std::string program;                     // softsplice-ffmpeg's path
  std::vector<std::string> arguments;      // main.cc has them
  std::string format;                      // of the file, for messages: "MP4"
  absl::string_view file;                  // what it reads
  uint64_t heap_bytes = kFfmpegHeapBytes;  // that it may allocate, as messages.h says
  // After which it is killed; what on_message takes is not counted.
  absl::Duration most_time;
  std::function<absl::Status()> go_on;  // asked ten times a second at least: its error ends the run
  // Gets each message but the last; an error ends the run.
  std::function<absl::Status(FfmpegMessage kind, absl::string_view bytes)> on_message;
};

// Runs it to its end, which is over when this returns. Any thread.
// RESOURCE_EXHAUSTED: it took too long or too much memory, or the machine is short of it.
// INVALID_ARGUMENT: the file is unreadable, or made it crash. INTERNAL: the program can't be run,
// or does not keep to messages.h. What go_on and on_message say.
absl::Status RunFfmpeg(const FfmpegRun& run);

}  // namespace softsplice
