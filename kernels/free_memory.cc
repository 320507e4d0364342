#include "kernels/free_memory.h"

#include <algorithm>
#include <optional>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/cgroups.h"

namespace softsplice {
namespace {

// The number behind `key` at a line's start; 0: there is none.
uint64_t NumberBehind(const std::string& text, absl::string_view key) {
  std::stringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::stringstream words(line);
    std::string word;
    uint64_t number = 0;
    if (words >> word >> number && word == key) return number;
  }
  return 0;
}

// None: it is no number, as "max" is not.
std::optional<uint64_t> NumberIn(const std::string& path) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(ReadSmallFile(path), &number)) return std::nullopt;
  return number;
}

// None: the cgroup has no limit, or is not there.
std::optional<HostMemory> OfCgroup(const std::string& directory) {
  std::optional<uint64_t> limit = NumberIn(directory + "/memory.max");
  std::optional<uint64_t> used = NumberIn(directory + "/memory.current");
  absl::string_view inactive = "inactive_file", active = "active_file";
  if (!limit) {
    limit = NumberIn(directory + "/memory.limit_in_bytes");
    used = NumberIn(directory + "/memory.usage_in_bytes");
    inactive = "total_inactive_file";
    active = "total_active_file";
  }
  if (!limit || !used) return std::nullopt;
  const std::string stat = ReadSmallFile(directory + "/memory.stat");
  const uint64_t files = NumberBehind(stat, inactive) + NumberBehind(stat, active);
  const uint64_t taken = *used - std::min(*used, files);
  return HostMemory{.free_bytes = *limit - std::min(*limit, taken),
                    .total_bytes = *limit,
                    .of = absl::StrCat("the memory cgroup ", directory)};
}

}  // namespace

HostMemory FreeHostMemory(const std::string& proc_self_cgroup, const std::string& proc_meminfo,
                          const std::string& root) {
  constexpr uint64_t kKib = 1024;
  HostMemory least{.free_bytes = NumberBehind(proc_meminfo, "MemAvailable:") * kKib,
                   .total_bytes = NumberBehind(proc_meminfo, "MemTotal:") * kKib,
                   .of = "the machine"};
  for (const std::string& directory : CgroupDirectories(proc_self_cgroup, root, "memory")) {
    std::optional<HostMemory> group = OfCgroup(directory);
    if (group && group->free_bytes < least.free_bytes) least = *std::move(group);
  }
  return least;
}

HostMemory FreeHostMemory() {
  return FreeHostMemory(ReadSmallFile("/proc/self/cgroup"), ReadSmallFile("/proc/meminfo"),
                        "/sys/fs/cgroup");
}

}  // namespace softsplice
