// FFmpeg's libraries, fenced in.
//
// They read many more formats than we could, in millions of lines of C that hostile files are
// written for. So they run in a process of their own, softsplice-ffmpeg, one for each file: it gets
// the file as an anonymous one in memory, may only compute, allocate up to a limit and write to its
// pipe (seccomp, rlimits), and is killed when nobody waits any more or its time is up. A thread
// would be 60 ms faster to start, but could not be ended inside of a decoder, nor survive its
// faults; the services don't load the libraries, so they start and run without them, too.
#pragma once

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

struct FfmpegRun {
  std::string program;                  // softsplice-ffmpeg's path
  std::vector<std::string> arguments;   // main.cc has them
  absl::string_view file;               // what it reads
  absl::Duration most_time;             // after which it is killed
  std::function<absl::Status()> go_on;  // asked ten times a second at least: its error ends the run
  // Gets each message but kEnd and kOutOfMemory; an error ends the run.
  std::function<absl::Status(FfmpegMessage kind, absl::string_view bytes)> on_message;
};

// Runs it to its end, which is over when this returns. Any thread.
// RESOURCE_EXHAUSTED: it took too long or too much memory, or the machine is short of it.
// INVALID_ARGUMENT: the file made it crash. INTERNAL: the program can't be run, or does not keep to
// messages.h. What go_on and on_message say.
absl::Status RunFfmpeg(const FfmpegRun& run);

}  // namespace softsplice
