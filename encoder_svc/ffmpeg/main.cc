// `softsplice-ffmpeg`: started by the encoder, one for each file that only FFmpeg reads.
//
//   softsplice-ffmpeg sound mp4|webm|aac [alone]
//   softsplice-ffmpeg video mp4|webm FRAMES
//
// reads the file from standard input and writes messages.h to standard output. `alone`: a video
// beside the sound is left out. FRAMES: at most so many.
extern "C" {
#include <libavutil/log.h>
}
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <new>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/ffmpeg/sandbox.h"
#include "encoder_svc/ffmpeg/sound.h"
#include "encoder_svc/ffmpeg/video.h"

namespace softsplice {
namespace {

struct Task {
  std::string format;
  bool alone = false;
  int frames = 0;  // 0: the sound
};

constexpr int kWrongUse = 2, kNoSandbox = 3, kNoFile = 4;

std::optional<Task> ParseTask(int argc, char** argv) {
  if (argc < 3) return std::nullopt;
  Task task{.format = argv[2], .alone = argc > 3};
  const absl::string_view what = argv[1];
  if (what == "sound") return task;
  const bool good = what == "video" && argc == 4 && absl::SimpleAtoi(argv[3], &task.frames);
  return good && task.frames > 0 ? std::optional(task) : std::nullopt;
}

bool WriteAll(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool WriteMessage(FfmpegMessage kind, absl::string_view bytes) {
  const FfmpegMessageHeader header{kind, static_cast<uint32_t>(bytes.size())};
  return WriteAll({reinterpret_cast<const char*>(&header), sizeof(header)}) && WriteAll(bytes);
}

void Decode(absl::string_view file, const Task& task) {
  if (task.frames > 0) {
    DecodeFfmpegVideo(file, {.format = task.format, .frames = task.frames}, &WriteMessage);
  } else {
    DecodeFfmpegSound(file, {.format = task.format, .sound_alone = task.alone}, &WriteMessage);
  }
}

int Run(int argc, char** argv) {
  const std::optional<Task> task = ParseTask(argc, argv);
  if (!task) {
    std::cerr << "softsplice-ffmpeg is started by softsplice-encoder\n";
    return kWrongUse;
  }
  struct stat file {};
  if (fstat(STDIN_FILENO, &file) != 0 || file.st_size <= 0) return kNoFile;
  const auto size = static_cast<size_t>(file.st_size);
  void* bytes = mmap(nullptr, size, PROT_READ, MAP_SHARED, STDIN_FILENO, 0);
  if (bytes == MAP_FAILED) return kNoFile;
  av_log_set_level(AV_LOG_QUIET);
  if (!EnterSandbox(task->frames > 0 ? kFfmpegVideoHeapBytes : kFfmpegHeapBytes)) return kNoSandbox;
  try {
    Decode({static_cast<const char*>(bytes), size}, *task);
  } catch (const std::bad_alloc&) {
    WriteMessage(FfmpegMessage::kOutOfMemory, "");
  }
  return 0;
}

}  // namespace
}  // namespace softsplice

// Nothing is tidied up behind the fence: what that does is not allowed any more.
int main(int argc, char** argv) { _exit(softsplice::Run(argc, argv)); }
