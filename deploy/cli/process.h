// A child process with its output in a log file. It does not outlive its parent.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace softsplice {

// The file `name` in the folder of the running program.
std::string BesideThisProgram(const std::string& name);

// Not thread-safe. The thread that starts a child must live as long as the child.
class Child {
 public:
  // Runs arguments[0] with the rest. stdout and stderr go to `log_path`; empty: to our stderr.
  static absl::StatusOr<std::unique_ptr<Child>> Start(const std::vector<std::string>& arguments,
                                                      const std::string& log_path);
  // Kills what still runs.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool Running();
  // Asks it to end, waits for `grace` or until `hurry()`, then kills it.
  void Stop(absl::Duration grace, const std::function<bool()>& hurry);

  // How it ended, for example "ended with status 1".
  std::string EndText() const;
  // The last lines of its log.
  std::string LogTail(int lines) const;

 private:
  Child(pid_t pid, std::string log_path) : pid_(pid), log_path_(std::move(log_path)) {}

  const pid_t pid_;
  const std::string log_path_;
  bool ended_ = false;
  int status_ = 0;  // as waitpid gives it; of use once ended_
};

}  // namespace softsplice
