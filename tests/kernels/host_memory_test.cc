// Memory that is short is an error, and one that passes.
#include "kernels/host_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "common/status/error.h"
#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::Device;
using testing::FloatTensor;
using testing::HostMat;
using testing::RunOn;

// No more address space than the process has now, for as long as it lives.
class NoMoreMemory {
 public:
  NoMoreMemory() {
    getrlimit(RLIMIT_AS, &before_);
    rlimit now = before_;
    now.rlim_cur = AddressSpace();
    setrlimit(RLIMIT_AS, &now);
  }
  ~NoMoreMemory() { setrlimit(RLIMIT_AS, &before_); }

 private:
  static rlim_t AddressSpace() {
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
  }
  rlimit before_{};
};

// A sanitizer needs address space of its own at any time.
bool Sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#else
  return false;
#endif
}

bool SystemPromisesAnything() {
  char mode = '0';
  std::ifstream("/proc/sys/vm/overcommit_memory") >> mode;
  return mode == '1';
}

TEST(HostMemoryTest, RefusesWhatTheMachineDoesNotHave) {
  if (SystemPromisesAnything()) GTEST_SKIP() << "vm.overcommit_memory is 1";
  for (const size_t bytes : {size_t{1} << 45, SIZE_MAX, SIZE_MAX - 4095}) {
    const absl::Status status = AllocateHost(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << bytes;
    EXPECT_EQ(GetErrorDetail(status).reason, "OUT_OF_MEMORY");
  }
}

TEST(HostMemoryTest, GivesZeroesOfEverySize) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, (size_t{2} << 20) - 1,
                             (size_t{2} << 20) + 1, size_t{5} << 20}) {
    const std::shared_ptr<void> memory = *AllocateHost(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % 256, 0u);
    const char* data = static_cast<const char*>(memory.get());
    for (size_t i = 0; i < bytes; i += 4095) ASSERT_EQ(data[i], 0) << i;
  }
}

TEST(HostMemoryTest, BuffersKeepWhatIsLargeEnough) {
  HostBuffer buffer;
  ASSERT_TRUE(buffer.Grow(1000).ok());
  char* data = buffer.As<char>();
  data[7] = 1;
  ASSERT_TRUE(buffer.Grow(10).ok());
  EXPECT_EQ(buffer.As<char>(), data);
  EXPECT_EQ(data[7], 1);
}

class ShortMemoryTest : public BackendTest {};

// A pass for which there was no room says so once; the next one works.
TEST_P(ShortMemoryTest, PassesWhenThereIsMemoryAgain) {
  if (Sanitized()) GTEST_SKIP() << "no address space to take away";
  constexpr int kCols = 4096;
  const HostMat weights = HostMat::Normal(random_, 8, kCols);
  const HostMat x = HostMat::Normal(random_, 2000, kCols);
  Device on(*backend_);
  const Weight& w = on.Pack(FloatTensor(weights), Use::kLinear);
  const Mat from = on.Copy(x);
  const Mat y = on.New(2000, 8);
  {
    const NoMoreMemory none;
    on->Matmul(y, from, w);
    const absl::Status status = on->Wait();
    EXPECT_EQ(GetErrorDetail(status).reason, "OUT_OF_MEMORY") << status;
  }
  on->Matmul(y, from, w);
  const HostMat want = RunOn(*Make(1, true), [&](Device& one) {
    const Mat at = one.New(2000, 8);
    one->Matmul(at, one.Copy(x), one.Pack(FloatTensor(weights), Use::kLinear));
    return at;
  });
  EXPECT_TRUE(*on.Read(y) == want);
}

INSTANTIATE_TEST_SUITE_P(All, ShortMemoryTest, ::testing::ValuesIn(testing::CpuCandidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
