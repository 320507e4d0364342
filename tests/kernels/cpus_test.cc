#include "kernels/cpu/cpus.h"

#include "tests/kernels/fake_root.h"

namespace softsplice {
namespace {

using CgroupTest = testing::FakeRoot;

TEST_F(CgroupTest, NoQuota) {
  EXPECT_EQ(CgroupCpus("", root_), 0);
  EXPECT_EQ(CgroupCpus("0::/\n", root_), 0);
  Write("/cpu.max", "max 100000\n");
  EXPECT_EQ(CgroupCpus("0::/\n", root_), 0);
  Write("/cpu/cpu.cfs_quota_us", "-1\n");
  Write("/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpus("4:cpu,cpuacct:/\n", root_), 0);
}

TEST_F(CgroupTest, Version2RoundsUp) {
  Write("/cpu.max", "150000 100000\n");
  EXPECT_EQ(CgroupCpus("0::/\n", root_), 2);
  Write("/cpu.max", "200000 100000\n");
  EXPECT_EQ(CgroupCpus("0::/\n", root_), 2);
  Write("/cpu.max", "5000 100000\n");
  EXPECT_EQ(CgroupCpus("0::/\n", root_), 1);
}

TEST_F(CgroupTest, ParentsCount) {
  Write("/pod/cpu.max", "300000 100000\n");
  Write("/pod/box/cpu.max", "800000 100000\n");
  EXPECT_EQ(CgroupCpus("0::/pod/box\n", root_), 3);
  EXPECT_EQ(CgroupCpus("0::/other\n", root_), 0);
}

TEST_F(CgroupTest, Version1) {
  Write("/cpu/pod/cpu.cfs_quota_us", "250000\n");
  Write("/cpu/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpus("5:memory:/pod\n4:cpu,cpuacct:/pod\n0::/\n", root_), 3);
  EXPECT_EQ(CgroupCpus("5:cpuset:/pod\n", root_), 0);
}

TEST(AvailableCpusTest, AtLeastOne) { EXPECT_GE(AvailableCpus(), 1); }

}  // namespace
}  // namespace softsplice
