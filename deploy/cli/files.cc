#include "deploy/cli/files.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/server/fd.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr size_t kBlock = 1 << 16;

// Until `fd` is ready for `events`, or ended. CANCELLED: a signal came while it was not.
absl::Status Wait(int fd, short events, Interrupts& interrupts) {
  for (;;) {
    pollfd ends[] = {{.fd = fd, .events = events}, {.fd = interrupts.fd(), .events = POLLIN}};
    if (poll(ends, 2, -1) <= 0) continue;
    if (ends[0].revents != 0) return absl::OkStatus();
    if (interrupts.raised()) return absl::CancelledError("interrupted");
  }
}

absl::Status TooLarge(const std::string& name, size_t most) {
  return absl::ResourceExhaustedError(absl::StrCat(name, " has more than ", most >> 20, " MiB"));
}

absl::StatusOr<std::string> ReadAll(int fd, const std::string& name, size_t most,
                                    Interrupts& interrupts) {
  std::string data;
  for (;;) {
    RETURN_IF_ERROR(Wait(fd, POLLIN, interrupts));
    const size_t size = data.size();
    data.resize(size + kBlock);
    const ssize_t got = read(fd, data.data() + size, kBlock);
    data.resize(size + static_cast<size_t>(got > 0 ? got : 0));
    if (got == 0) return data;
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("can't read ", name));
    }
    if (data.size() > most) return TooLarge(name, most);
  }
}

absl::Status CantWrite(const std::string& name) {
  return absl::ErrnoToStatus(errno, absl::StrCat("can't write ", name));
}

absl::Status WriteAll(int fd, const std::string& name, absl::string_view data,
                      Interrupts& interrupts) {
  while (!data.empty()) {
    RETURN_IF_ERROR(Wait(fd, POLLOUT, interrupts));
    const ssize_t put = write(fd, data.data(), data.size());
    if (put > 0) data.remove_prefix(static_cast<size_t>(put));
    if (put < 0 && errno != EAGAIN && errno != EINTR) return CantWrite(name);
  }
  return absl::OkStatus();
}

// What is neither a regular file nor nothing. A pipe waits for whoever reads it.
absl::Status WriteInto(const std::string& path, absl::string_view data, Interrupts& interrupts) {
  while (!interrupts.raised()) {
    const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0666));
    if (fd) return WriteAll(fd.get(), path, data, interrupts);
    if (errno != ENXIO) return CantWrite(path);
    absl::SleepFor(absl::Milliseconds(20));
  }
  return absl::CancelledError("interrupted");
}

absl::Status Replace(const std::string& path, mode_t mode, absl::string_view data,
                     Interrupts& interrupts) {
  std::string draft = path + ".XXXXXX";
  const Fd fd(mkostemp(draft.data(), O_CLOEXEC));
  if (!fd) return CantWrite(path);
  absl::Status status = WriteAll(fd.get(), path, data, interrupts);
  if (status.ok() && (fchmod(fd.get(), mode) != 0 || rename(draft.c_str(), path.c_str()) != 0)) {
    status = CantWrite(path);
  }
  if (!status.ok()) unlink(draft.c_str());
  return status;
}

// Libraries open descriptors before main: what has no type of a file took the place of stdin.
bool StdinIsClosed() {
  struct stat info = {};
  return fstat(STDIN_FILENO, &info) != 0 || (info.st_mode & S_IFMT) == 0;
}

mode_t DefaultMode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

bool StdinIsPiped() {
  struct stat info = {};
  return fstat(STDIN_FILENO, &info) == 0 &&
         (S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode));
}

absl::StatusOr<std::string> ReadFile(const std::string& path, Interrupts& interrupts) {
  if (path == kStream && StdinIsClosed()) {
    return absl::InvalidArgumentError("standard input is closed");
  }
  if (path == kStream) return ReadAll(STDIN_FILENO, "standard input", kMaxStreamBytes, interrupts);
  // Without O_NONBLOCK, opening a pipe waits for whoever writes to it.
  const Fd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat info = {};
  if (!fd || fstat(fd.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("can't read ", path));
  }
  if (S_ISDIR(info.st_mode)) return absl::NotFoundError(absl::StrCat(path, " is a folder"));
  const size_t most = S_ISREG(info.st_mode) ? kMaxFileBytes : kMaxStreamBytes;
  if (info.st_size > static_cast<off_t>(most)) return TooLarge(path, most);
  return ReadAll(fd.get(), path, most, interrupts);
}

absl::Status WriteFile(const std::string& path, absl::string_view data, Interrupts& interrupts) {
  if (path == kStream) return WriteAll(STDOUT_FILENO, "standard output", data, interrupts);
  struct stat there = {};
  const bool nothing = lstat(path.c_str(), &there) != 0;
  if (!nothing && !S_ISREG(there.st_mode)) return WriteInto(path, data, interrupts);
  return Replace(path, nothing ? DefaultMode() : there.st_mode & 07777, data, interrupts);
}

}  // namespace softsplice
