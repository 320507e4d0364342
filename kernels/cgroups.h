// The control groups that bound what this process may use.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace softsplice {

// The whole file; what can't be read is empty.
std::string ReadSmallFile(const std::string& path);

// The directories of the cgroups in `proc_self_cgroup` (the text of that file) that `controller`
// may bound, and of their parents, each group before its parent, under `root` (/sys/fs/cgroup).
// Both versions of cgroups. In a container some may not be there.
std::vector<std::string> CgroupDirectories(const std::string& proc_self_cgroup,
                                           const std::string& root, absl::string_view controller);

}  // namespace softsplice
