#include "kernels/cpu/cpus.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <sstream>

#include "kernels/cgroups.h"

namespace softsplice {
namespace {

int RoundUp(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<int64_t>((quota + period - 1) / period, 1 << 20));
}

// The quota of one cgroup's directory; 0: none.
int QuotaAt(const std::string& directory) {
  std::stringstream v2(ReadSmallFile(directory + "/cpu.max"));  // "max 100000" or "150000 100000"
  int64_t quota = 0;
  int64_t period = 0;
  if (v2 >> quota >> period) return RoundUp(quota, period);
  std::stringstream v1_quota(ReadSmallFile(directory + "/cpu.cfs_quota_us"));  // -1: none
  std::stringstream v1_period(ReadSmallFile(directory + "/cpu.cfs_period_us"));
  if (v1_quota >> quota && v1_period >> period) return RoundUp(quota, period);
  return 0;
}

}  // namespace

int CgroupCpus(const std::string& proc_self_cgroup, const std::string& root) {
  int least = 0;
  for (const std::string& directory : CgroupDirectories(proc_self_cgroup, root, "cpu")) {
    if (const int quota = QuotaAt(directory); quota > 0) {
      least = least == 0 ? quota : std::min(least, quota);
    }
  }
  return least;
}

std::vector<int> AllowedCpus() {
  cpu_set_t mask;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

int AvailableCpus() {
  const int affinity = static_cast<int>(AllowedCpus().size());
  const int quota = CgroupCpus(ReadSmallFile("/proc/self/cgroup"), "/sys/fs/cgroup");
  return std::max(1, quota > 0 ? std::min(affinity, quota) : affinity);
}

}  // namespace softsplice
