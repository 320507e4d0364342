// See sandbox.h.
#include "encoder_svc/ffmpeg/sandbox.h"

#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace softsplice {
namespace {

// Besides memory that is not code.
constexpr int kAllowed[] = {
    SCMP_SYS(read),       SCMP_SYS(write),      SCMP_SYS(brk),           SCMP_SYS(munmap),
    SCMP_SYS(mremap),     SCMP_SYS(madvise),    SCMP_SYS(futex),         SCMP_SYS(exit),
    SCMP_SYS(fstat),      SCMP_SYS(newfstatat), SCMP_SYS(clock_gettime), SCMP_SYS(getrandom),
    SCMP_SYS(exit_group),
};

// What the process has for data by now: libraries', and what a sanitizer put beside them.
uint64_t DataBytes() {
  uint64_t pages = 0;
  std::ifstream sizes("/proc/self/statm");
  for (int i = 0; i < 6; ++i) sizes >> pages;  // the sixth is data and stack
  return sizes ? pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

bool Limit(int resource, uint64_t most) {
  const rlimit limit{most, most};
  return setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0;
}

bool AllowOnly() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  bool done = filter != nullptr;
  for (const int call : kAllowed) {
    done = done && seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0;
  }
  done = done &&
         seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                          SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0 &&
         seccomp_load(filter) == 0;
  seccomp_release(filter);
  return done;
}

}  // namespace

bool EnterSandbox(uint64_t heap_bytes) {
  const uint64_t data = DataBytes();
  return data > 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && Limit(RLIMIT_CORE, 0) &&
         Limit(RLIMIT_DATA, data + heap_bytes) && AllowOnly();
}

}  // namespace softsplice
