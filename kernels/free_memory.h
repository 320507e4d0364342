// How much of the host's memory a process may still take.
#pragma once

#include <cstdint>
#include <string>

namespace softsplice {

struct HostMemory {
  uint64_t free_bytes = 0;   // cached files, which give way, count as free
  uint64_t total_bytes = 0;  // of what is named next
  std::string of;            // for people: "the machine", or the cgroup whose limit is nearest
};

// Of this process.
HostMemory FreeHostMemory();

// The same, from the texts of /proc/self/cgroup and /proc/meminfo, and the cgroups under `root`
// (/sys/fs/cgroup).
HostMemory FreeHostMemory(const std::string& proc_self_cgroup, const std::string& proc_meminfo,
                          const std::string& root);

}  // namespace softsplice
