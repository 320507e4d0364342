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

class Sandbox : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "AddressSanitizer takes memory of its own, and ends a program that gets none";
#endif
  }
};

TEST_F(Sandbox, LetsItComputeAndAllocate) {
  for (const char* what : {"nothing", "memory"}) {
    const int status = Probe(what);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << what << ": " << status;
  }
}

TEST_F(Sandbox, EndsWhatTriesAnythingElse) {
  for (const char* what : {"a file", "a socket", "a process", "a program", "a signal", "code"}) {
    const int status = Probe(what);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << what << ": " << status;
  }
}

TEST_F(Sandbox, HasOnlySoMuchMemory) {
  const int status = Probe("too much memory");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
}

}  // namespace
