#include "kernels/cgroups.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace softsplice {

std::string ReadSmallFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> CgroupDirectories(const std::string& proc_self_cgroup,
                                           const std::string& root, absl::string_view controller) {
  std::vector<std::string> directories;
  // A line is "id:controllers:/path"; version 2 has id 0 and no controllers.
  for (absl::string_view line : absl::StrSplit(proc_self_cgroup, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    std::string mount = root;
    if (!parts[1].empty()) {
      const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
      if (std::find(controllers.begin(), controllers.end(), controller) == controllers.end()) {
        continue;
      }
      absl::StrAppend(&mount, "/", controller);
    }
    std::string path = parts[2];
    while (true) {
      directories.push_back(mount + path);
      const size_t slash = path.rfind('/');
      if (slash == std::string::npos) break;
      path.resize(slash);
    }
  }
  return directories;
}

}  // namespace softsplice
