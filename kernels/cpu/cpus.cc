#include "kernels/cpu/cpus.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace softsplice {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

int RoundUp(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<int64_t>((quota + period - 1) / period, 1 << 20));
}

// The quota of one cgroup's directory; 0: none.
int QuotaAt(const std::string& directory) {
  std::stringstream v2(ReadFile(directory + "/cpu.max"));  // "max 100000" or "150000 100000"
  int64_t quota = 0;
  int64_t period = 0;
  if (v2 >> quota >> period) return RoundUp(quota, period);
  std::stringstream v1_quota(ReadFile(directory + "/cpu.cfs_quota_us"));  // -1: none
  std::stringstream v1_period(ReadFile(directory + "/cpu.cfs_period_us"));
  if (v1_quota >> quota && v1_period >> period) return RoundUp(quota, period);
  return 0;
}

// The least quota of `path` and its parents under `mount`; 0: none.
int LeastQuota(const std::string& mount, std::string path) {
  int least = 0;
  while (true) {
    if (const int quota = QuotaAt(mount + path); quota > 0) {
      least = least == 0 ? quota : std::min(least, quota);
    }
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return least;
    path.resize(slash);
  }
}

}  // namespace

int CgroupCpus(const std::string& proc_self_cgroup, const std::string& root) {
  int least = 0;
  // A line is "id:controllers:/path"; version 2 has id 0 and no controllers.
  for (absl::string_view line : absl::StrSplit(proc_self_cgroup, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    std::string mount = root;
    if (!parts[1].empty()) {
      const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
      if (std::find(controllers.begin(), controllers.end(), "cpu") == controllers.end()) continue;
      absl::StrAppend(&mount, "/cpu");
    }
    if (const int quota = LeastQuota(mount, parts[2]); quota > 0) {
      least = least == 0 ? quota : std::min(least, quota);
    }
  }
  return least;
}

int AvailableCpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int affinity = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
  const int quota = CgroupCpus(ReadFile("/proc/self/cgroup"), "/sys/fs/cgroup");
  return std::max(1, quota > 0 ? std::min(affinity, quota) : affinity);
}

}  // namespace softsplice
