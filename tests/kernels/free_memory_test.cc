#include "kernels/free_memory.h"

#include <string>

#include "tests/kernels/fake_root.h"

namespace softsplice {
namespace {

constexpr char kMachine[] =
    "MemTotal:       1000 kB\n"
    "MemFree:          10 kB\n"
    "MemAvailable:    600 kB\n";

class FreeMemoryTest : public testing::FakeRoot {
 protected:
  void Expect(const std::string& cgroups, uint64_t free, uint64_t total, const std::string& of) {
    const HostMemory memory = FreeHostMemory(cgroups, kMachine, root_);
    EXPECT_EQ(memory.free_bytes, free);
    EXPECT_EQ(memory.total_bytes, total);
    EXPECT_EQ(memory.of, of);
  }
};

TEST_F(FreeMemoryTest, WithoutLimitsIsTheMachines) {
  Write("/memory.max", "max\n");
  Write("/memory.current", "5\n");
  Expect("", 600 * 1024, 1000 * 1024, "the machine");
  Expect("0::/\n", 600 * 1024, 1000 * 1024, "the machine");
}

TEST_F(FreeMemoryTest, ALimitWhereNextToNothingIsTakenIsWhatCounts) {
  Write("/pod/memory.max", "50000\n");
  Write("/pod/memory.current", "30000\n");
  Write("/pod/memory.stat", "anon 1000\ninactive_file 20000\nactive_file 5000\n");
  Expect("0::/pod\n", 45000, 50000, "the memory cgroup " + root_ + "/pod");
}

TEST_F(FreeMemoryTest, TheNearestLimitCounts) {
  Write("/pod/memory.max", "50000\n");
  Write("/pod/memory.current", "49000\n");
  Write("/pod/box/memory.max", "20000\n");
  Write("/pod/box/memory.current", "1000\n");
  Expect("0::/pod/box\n", 1000, 50000, "the memory cgroup " + root_ + "/pod");
}

TEST_F(FreeMemoryTest, Version1) {
  Write("/memory/pod/memory.limit_in_bytes", "40000\n");
  Write("/memory/pod/memory.usage_in_bytes", "35000\n");
  Write("/memory/pod/memory.stat", "inactive_file 1\ntotal_inactive_file 4000\n");
  Write("/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("/memory/memory.usage_in_bytes", "35000\n");
  Expect("3:memory:/pod\n2:cpu:/pod\n", 9000, 40000, "the memory cgroup " + root_ + "/memory/pod");
}

TEST_F(FreeMemoryTest, OverItsLimitThereIsNone) {
  Write("/memory.max", "50000\n");
  Write("/memory.current", "60000\n");
  Expect("0::/\n", 0, 50000, "the memory cgroup " + root_ + "/");
}

TEST(FreeHostMemoryTest, IsSome) {
  const HostMemory memory = FreeHostMemory();
  EXPECT_GT(memory.free_bytes, 0u);
  EXPECT_LT(memory.free_bytes, memory.total_bytes);
}

}  // namespace
}  // namespace softsplice
