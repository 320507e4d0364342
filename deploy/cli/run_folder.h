// The folder of one run's logs and sockets, which goes with the run, however that ends.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/server/fd.h"

namespace softsplice {

class RunFolder {
 public:
  // A new one in RuntimeDirectory, after those were removed whose runs were killed.
  // An error says that it can't be made.
  static absl::StatusOr<RunFolder> Make();
  RunFolder(RunFolder&&) = default;
  RunFolder& operator=(RunFolder&&) = default;
  ~RunFolder();

  const std::string& path() const { return path_; }

 private:
  RunFolder(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  Fd lock_;  // a file in it: who holds the lock is alive
};

}  // namespace softsplice
