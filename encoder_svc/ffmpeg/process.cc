// See process.h.
#include "encoder_svc/ffmpeg/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr int kPollMs = 100;
constexpr size_t kMostText = 200;

// What a process tells that a file may have taken over.
std::string Printable(absl::string_view text) {
  std::string out(text.substr(0, kMostText));
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

absl::Status SystemError(absl::string_view what) {
  const int error = errno;
  const std::string message = absl::StrCat(what, " for FFmpeg failed: ", std::strerror(error));
  const bool is_short = error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE;
  return is_short ? OutOfMemory(message) : absl::InternalError(message);
}

// A descriptor that is closed with it.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { Close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  int number() const { return number_; }
  void Close() {
    if (number_ >= 0) close(std::exchange(number_, -1));
  }

 private:
  int number_;
};

// An anonymous file with these bytes, which nobody can change any more.
absl::StatusOr<Descriptor> FileOf(absl::string_view bytes) {
  Descriptor file(memfd_create("softsplice-ffmpeg", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (file.number() < 0) return SystemError("memfd_create");
  while (!bytes.empty()) {
    const ssize_t written = write(file.number(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return SystemError("writing to memory");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (fcntl(file.number(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) != 0 ||
      lseek(file.number(), 0, SEEK_SET) != 0) {
    return SystemError("sealing memory");
  }
  return file;
}

// The process; killed and waited for at the latest when it goes out of scope.
class Child {
 public:
  Child() = default;
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // With `in` and `out` as standard input and output, and nothing else of ours.
  absl::Status Start(const FfmpegRun& run, const Descriptor& in, const Descriptor& out) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    const absl::Cleanup cleanup = [&] {
      posix_spawn_file_actions_destroy(&files);
      posix_spawnattr_destroy(&how);
    };
    posix_spawn_file_actions_adddup2(&files, in.number(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out.number(), STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<std::string> words{run.program};
    words.insert(words.end(), run.arguments.begin(), run.arguments.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    errno = posix_spawn(&pid_, words[0].c_str(), &files, &how, arguments.data(), environ);
    return errno == 0 ? absl::OkStatus() : SystemError(absl::StrCat("running ", words[0]));
  }

  // Its status, as waitpid tells it, when it has ended.
  int Wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_ = 0;
};

// Takes messages out of what was read.
class Messages {
 public:
  explicit Messages(const FfmpegRun& run) : run_(run) {}

  bool ended() const { return ended_; }
  // How long taking them took.
  absl::Duration taken() const { return taken_; }

  absl::Status Add(absl::string_view bytes) {
    absl::StrAppend(&waiting_, bytes);
    absl::string_view rest = waiting_;
    FfmpegMessageHeader header{};
    while (!ended_ && rest.size() >= sizeof(header)) {
      std::memcpy(&header, rest.data(), sizeof(header));
      if (header.bytes > kMostFfmpegMessageBytes)
        return absl::InternalError("FFmpeg: long message");
      if (rest.size() - sizeof(header) < header.bytes) break;
      RETURN_IF_ERROR(Take(header.kind, rest.substr(sizeof(header), header.bytes)));
      rest.remove_prefix(sizeof(header) + header.bytes);
    }
    waiting_.erase(0, waiting_.size() - rest.size());
    return absl::OkStatus();
  }

 private:
  absl::Status Take(FfmpegMessage kind, absl::string_view bytes) {
    if (kind == FfmpegMessage::kOutOfMemory) {
      return OverLimit("data", absl::StrCat("the file takes more memory to be decoded than the ",
                                            run_.heap_bytes >> 20, " MiB that it may"));
    }
    if (kind == FfmpegMessage::kUnreadable) {
      return InvalidMedia(absl::StrCat("the ", run_.format, " ", Printable(bytes)));
    }
    ended_ = kind == FfmpegMessage::kEnd;
    if (ended_) return absl::OkStatus();
    const absl::Duration start = SteadyNow();
    absl::Status status = run_.on_message(kind, bytes);
    taken_ += SteadyNow() - start;
    return status;
  }

  const FfmpegRun& run_;
  std::string waiting_;
  absl::Duration taken_ = absl::ZeroDuration();
  bool ended_ = false;
};

// One look at the pipe; true: there is nothing more to come.
absl::StatusOr<bool> ReadSome(const Descriptor& pipe, Messages& messages) {
  pollfd ready{.fd = pipe.number(), .events = POLLIN};
  if (poll(&ready, 1, kPollMs) <= 0) return false;
  char block[65536];
  const ssize_t count = read(pipe.number(), block, sizeof(block));
  if (count < 0 && errno == EINTR) return false;
  if (count < 0) return SystemError("reading a pipe");
  RETURN_IF_ERROR(messages.Add({block, static_cast<size_t>(count)}));
  return count == 0 || messages.ended();
}

absl::Status Ended(int status) {
  if (WIFSIGNALED(status)) {
    return InvalidMedia(absl::StrCat("the file is corrupt: its decoder ended with signal ",
                                     WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")"));
  }
  return absl::InternalError(
      absl::StrCat("softsplice-ffmpeg ended with status ", WEXITSTATUS(status)));
}

}  // namespace

std::string FindFfmpeg() {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& folder : {here, here.parent_path() / "libexec" / "softsplice"}) {
    const fs::path program = folder / "softsplice-ffmpeg";
    if (access(program.c_str(), X_OK) == 0) return program.string();
  }
  return "";
}

absl::Status CheckFfmpeg(absl::string_view program, absl::string_view format) {
  if (!program.empty()) return absl::OkStatus();
  return InvalidMedia(absl::StrCat("the bytes are ", format,
                                   ", which this build of the encoder can't read: it has no "
                                   "softsplice-ffmpeg beside it"));
}

absl::Status RunFfmpeg(const FfmpegRun& run) {
  ASSIGN_OR_RETURN(Descriptor in, FileOf(run.file));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("pipe");
  Descriptor out(ends[0]), theirs(ends[1]);
  Child child;
  RETURN_IF_ERROR(child.Start(run, in, theirs));
  in.Close();
  theirs.Close();
  const absl::Duration until = SteadyNow() + run.most_time;
  Messages messages(run);
  for (bool over = false; !over;) {
    RETURN_IF_ERROR(run.go_on());
    if (SteadyNow() > until + messages.taken()) {
      return OverLimit("data", absl::StrCat("the file takes longer to be decoded than the ",
                                            absl::FormatDuration(run.most_time), " that it may"));
    }
    ASSIGN_OR_RETURN(over, ReadSome(out, messages));
  }
  return messages.ended() ? absl::OkStatus() : Ended(child.Wait());
}

}  // namespace softsplice
