// Which CPUs there are for this process, and how many.
#pragma once

#include <string>
#include <vector>

namespace softsplice {

// The CPUs of the calling thread's affinity mask; none if the kernel does not tell.
std::vector<int> AllowedCpus();

// CPUs this process may keep busy: those of its affinity mask, or its cgroup's quota rounded up if
// that is less. At least 1.
int AvailableCpus();

// The CPU quota, rounded up, that the cgroups of `proc_self_cgroup` (the text of that file) and
// their parents set under `root` (/sys/fs/cgroup); 0: none. Both versions of cgroups.
int CgroupCpus(const std::string& proc_self_cgroup, const std::string& root);

}  // namespace softsplice
