#include "deploy/cli/process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "deploy/cli/signals.h"

namespace softsplice {
namespace {

// After fork: only async-signal-safe calls.
[[noreturn]] void RunChild(pid_t parent, char* const* arguments, int log) {
  // A group of its own: Ctrl-C reaches the parent alone, which then stops the child in order.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  RestoreSignals();
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(arguments[0], arguments);
  _exit(127);
}

}  // namespace

std::string BesideThisProgram(const std::string& name) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).replace_filename(name).string();
}

absl::StatusOr<std::unique_ptr<Child>> Child::Start(const std::vector<std::string>& arguments,
                                                    const std::string& log_path) {
  if (access(arguments[0].c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(arguments[0], " is missing: it belongs beside this program"));
  }
  const int log = log_path.empty()
                      ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
                      : open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't write the log ", log_path, ": ", strerror(errno)));
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) RunChild(parent, argv.data(), log);
  close(log);
  if (pid < 0) return absl::InternalError(absl::StrCat("can't fork: ", strerror(errno)));
  return std::unique_ptr<Child>(new Child(pid, log_path));
}

Child::~Child() {
  if (Running()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
}

bool Child::Running() {
  if (!ended_ && waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
  return !ended_;
}

void Child::Stop(absl::Duration grace, const std::function<bool()>& hurry) {
  if (!Running()) return;
  kill(pid_, SIGTERM);
  const absl::Time deadline = absl::Now() + grace;
  while (Running() && absl::Now() < deadline && !hurry()) absl::SleepFor(absl::Milliseconds(10));
  if (!Running()) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, &status_, 0);
  ended_ = true;
}

std::string Child::EndText() const {
  if (WIFSIGNALED(status_)) {
    return absl::StrCat("was ended by signal ", WTERMSIG(status_), " (",
                        strsignal(WTERMSIG(status_)), ")");
  }
  return absl::StrCat("ended with status ", WEXITSTATUS(status_));
}

std::string Child::LogTail(int lines) const {
  std::ifstream log(log_path_);
  std::deque<std::string> tail;
  for (std::string line; std::getline(log, line);) {
    tail.push_back(line);
    if (tail.size() > static_cast<size_t>(lines)) tail.pop_front();
  }
  return absl::StrJoin(tail, "\n");
}

}  // namespace softsplice
