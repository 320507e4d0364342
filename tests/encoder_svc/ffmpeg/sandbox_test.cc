// What a process behind the fence can do: compute. The others' ends are the kernel's.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "gtest/gtest.h"

namespace {

// The status of a probe that tries `what`.
int Probe(const char* what) {
  const pid_t child = fork();
  if (child == 0) {
    execl(SANDBOX_PROBE, "sandbox_probe", what, nullptr);
    _exit(127);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(Sandbox, LetsItComputeAndAllocate) {
  for (const char* what : {"nothing", "memory"}) {
    const int status = Probe(what);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << what << ": " << status;
  }
}

TEST(Sandbox, EndsWhatTriesAnythingElse) {
  for (const char* what : {"a file", "a socket", "a process", "a program", "a signal", "code"}) {
    const int status = Probe(what);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << what << ": " << status;
  }
}

TEST(Sandbox, HasOnlySoMuchMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer ends a program that has no memory";
#endif
  const int status = Probe("too much memory");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
}

}  // namespace
