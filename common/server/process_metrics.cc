#include "common/server/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace softsplice {
namespace {

constexpr Family kReady = {"softsplice_ready", "1 while requests are welcome"};
constexpr Family kDraining = {"softsplice_draining", "1 from the stop signal on"};
constexpr Family kCpu = {"process_cpu_seconds_total", "User and system CPU time, in seconds"};
constexpr Family kResident = {"process_resident_memory_bytes", "Resident memory"};
constexpr Family kVirtual = {"process_virtual_memory_bytes", "Virtual memory"};
constexpr Family kOpenFds = {"process_open_fds", "Open file descriptors"};
constexpr Family kMaxFds = {"process_max_fds", "File descriptors that may be open"};
constexpr Family kStart = {"process_start_time_seconds", "When the process began, in Unix time"};

// Fields of /proc/self/stat, as proc(5) numbers them.
constexpr size_t kUserTime = 14, kSystemTime = 15, kStartTime = 22, kVirtualBytes = 23;
constexpr size_t kFirstAfterName = 3;

class Stat {
 public:
  Stat() {
    std::string line;
    std::getline(std::ifstream("/proc/self/stat"), line);
    // The name, in parentheses, may hold anything.
    const size_t end = std::min(line.rfind(')'), line.size() - 1);
    fields_ = absl::StrSplit(line.substr(end + 1), ' ', absl::SkipEmpty());
  }
  // 0: there is none.
  double operator[](size_t field) const {
    const size_t index = field - kFirstAfterName;
    double value = 0;
    return index < fields_.size() && absl::SimpleAtod(fields_[index], &value) ? value : 0;
  }
  double Seconds(size_t field) const {
    return (*this)[field] / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  std::vector<std::string> fields_;
};

// When the machine was started, in Unix time.
double BootTime() {
  std::ifstream stat("/proc/stat");
  std::string word;
  double time = 0;
  while (stat >> word) {
    if (word == "btime" && stat >> time) break;
  }
  return time;
}

int CountOpenFds() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), closedir);
  if (folder == nullptr) return 0;
  int entries = 0;
  while (readdir(folder.get()) != nullptr) ++entries;
  return entries - 3;  // ".", ".." and the folder's own
}

}  // namespace

uint64_t ResidentBytes() {
  uint64_t all = 0;
  uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

ProcessMetrics::ProcessMetrics(Metrics& metrics, const LivePhase& phase)
    : phase_(phase),
      start_time_(BootTime() + Stat().Seconds(kStartTime)),
      source_(metrics.AddSource([this](Readings& to) { Read(to); })) {}

void ProcessMetrics::Read(Readings& to) const {
  const Phase phase = phase_;
  to.Gauge(kReady, phase == Phase::kReady ? 1 : 0);
  to.Gauge(kDraining, phase == Phase::kDraining ? 1 : 0);
  const Stat stat;
  to.Counter(kCpu, stat.Seconds(kUserTime) + stat.Seconds(kSystemTime));
  to.Gauge(kResident, static_cast<double>(ResidentBytes()));
  to.Gauge(kVirtual, stat[kVirtualBytes]);
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  to.Gauge(kOpenFds, CountOpenFds());
  to.Gauge(kMaxFds, static_cast<double>(limit.rlim_cur));
  to.Gauge(kStart, start_time_);
}

}  // namespace softsplice
