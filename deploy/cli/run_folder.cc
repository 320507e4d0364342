#include "deploy/cli/run_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "deploy/cli/client.h"

namespace softsplice {
namespace {

constexpr char kPrefix[] = "run-";
constexpr char kLockFile[] = "/lock";

// Folders whose lock nobody holds. The kernel lets go of a lock when its process ends.
void RemoveAbandoned(const std::string& base) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(base, error)) {
    if (!absl::StartsWith(entry.path().filename().string(), kPrefix)) continue;
    const std::string lock_path = entry.path().string() + kLockFile;
    const Fd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock || flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::filesystem::remove_all(entry.path(), error);
  }
}

}  // namespace

absl::StatusOr<RunFolder> RunFolder::Make() {
  ASSIGN_OR_RETURN(const std::string base, RuntimeDirectory());
  RemoveAbandoned(base);
  // It has its name when its lock is held: nobody takes it for abandoned.
  std::string draft = base + "/new-XXXXXX";
  Fd lock;
  if (mkdtemp(draft.data()) != nullptr) {
    lock = Fd(open((draft + kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  }
  std::string path = absl::StrCat(base, "/", kPrefix, draft.substr(draft.size() - 6));
  if (!lock || flock(lock.get(), LOCK_EX) != 0 || rename(draft.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("can't make the folder ", path));
  }
  return RunFolder(std::move(path), std::move(lock));
}

RunFolder::~RunFolder() {
  std::error_code error;
  if (lock_) std::filesystem::remove_all(path_, error);
}

}  // namespace softsplice
