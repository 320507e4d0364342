// What the emulation finds: kernels that are wrong, each in one way.
#include <cmath>
#include <cstdlib>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/device.h"
#include "tests/kernels/cuda/testing.h"

namespace softsplice::cuda {
namespace {

using ::testing::HasSubstr;

void Drain() { EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess); }

template <class... P, class... A>
void Finish(void (*kernel)(P...), unsigned blocks, unsigned threads, size_t shared, A... args) {
  EXPECT_EQ(Launch(nullptr, dim3{blocks}, dim3{threads}, shared, kernel, args...), cudaSuccess);
  Drain();
}

class EmulationDeathTest : public ::testing::Test {
 protected:
  EmulationDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

__global__ void MeetsHalf() {
  WaitForPrevious();
  if (threadIdx.x >= 32) return;
  __syncthreads();
}

TEST_F(EmulationDeathTest, NamesADeadlockedKernel) {
  EXPECT_DEATH(Finish(MeetsHalf, 1, 64, 0),
               "MeetsHalf.*deadlock: 32 threads at a barrier.*32 done");
}

__global__ void ShufflesHalf(int* result) {
  WaitForPrevious();
  if (threadIdx.x % 2 == 0) *result = __shfl_sync(~0u, 1, 0);
}
__global__ void MasksHalf(int* result) {
  WaitForPrevious();
  *result = __shfl_sync(0xffffu, 1, 0);
}

TEST_F(EmulationDeathTest, FindsLanesThatDoNotComeToTheirWarp) {
  const DeviceVector<int> result(1);
  EXPECT_DEATH(Finish(ShufflesHalf, 1, 32, 0, result.data()), "16 at one of their warp");
  EXPECT_DEATH(Finish(MasksHalf, 1, 32, 0, result.data()), "mask is not of the whole warp");
}

__global__ void WaitsForNothing() {}

TEST_F(EmulationDeathTest, FindsAKernelThatDoesNotWaitForItsPredecessor) {
  EXPECT_DEATH(Finish(WaitsForNothing, 1, 32, 0), "WaitsForNothing.*WaitForPrevious");
}

struct TwoRows {
  float of[2][32];
};

__global__ void ReadsPastItsShare(float* y) {
  WaitForPrevious();
  y[threadIdx.x] = Shared<TwoRows>().of[1][threadIdx.x];
}
__global__ void WritesPast(float* y) {
  WaitForPrevious();
  y[threadIdx.x] = 1;
}

bool FindsBadAddresses() {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#else
  return false;
#endif
}

TEST_F(EmulationDeathTest, SeesTheEndOfSharedMemory) {
  if (!FindsBadAddresses()) GTEST_SKIP() << "built without AddressSanitizer";
  const DeviceVector<float> y(32);
  EXPECT_DEATH(Finish(ReadsPastItsShare, 1, 32, sizeof(float[63]), y.data()),
               "AddressSanitizer.*overflow");
}

TEST_F(EmulationDeathTest, SeesTheEndOfDeviceMemory) {
  if (!FindsBadAddresses()) GTEST_SKIP() << "built without AddressSanitizer";
  const DeviceVector<float> y(31);
  EXPECT_DEATH(Finish(WritesPast, 1, 32, 0, y.data()), "AddressSanitizer.*overflow");
}

TEST_F(EmulationDeathTest, KeepsTheHostOutOfDeviceMemory) {
  if (!FindsBadAddresses()) GTEST_SKIP() << "built without AddressSanitizer";
  const DeviceVector<float> y(1);
  Drain();
  EXPECT_DEATH(*y.data() = 1, "AddressSanitizer: use-after-poison");
}

__global__ void ReadsUnwritten(float* y) {
  WaitForPrevious();
  y[threadIdx.x] = Shared<TwoRows>().of[1][threadIdx.x];
}

TEST(Emulation, StartsMemoryAsNaN) {
  const DeviceVector<float> y(64);
  Finish(ReadsUnwritten, 1, 32, sizeof(TwoRows), y.data());
  for (const float v : y.Read()) EXPECT_TRUE(std::isnan(v));
}

template <int kNewest>
__global__ void CopiesTwice(float* y, const float* x) {
  auto& rows = Shared<TwoRows>();
  WaitForPrevious();
  if (threadIdx.x < 16) {
    CopyAsync(&rows.of[threadIdx.x / 8][threadIdx.x % 8 * 4], x + 4 * threadIdx.x);
  }
  CommitCopies();
  WaitForCopies<kNewest>();
  __syncthreads();
  y[threadIdx.x] = rows.of[0][threadIdx.x];
}

TEST(Emulation, MakesACopyThatIsNotWaitedForNaN) {
  const DeviceVector<float> x(std::vector<float>(64, 3)), y(32);
  Finish(CopiesTwice<0>, 1, 32, sizeof(TwoRows), y.data(), x.data());
  for (const float v : y.Read()) EXPECT_EQ(v, 3);
  Finish(CopiesTwice<1>, 1, 32, sizeof(TwoRows), y.data(), x.data());
  for (const float v : y.Read()) EXPECT_TRUE(std::isnan(v));
}

// The threads' order shows where a barrier is missing.
template <bool kBarrier>
__global__ void Reverses(float* y) {
  auto& row = Shared<float[64]>();
  WaitForPrevious();
  row[threadIdx.x] = static_cast<float>(threadIdx.x + blockIdx.x);
  if (kBarrier) __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = row[63 - threadIdx.x];
}

// Lanes that exchange values are not ordered by that.
__global__ void ReversesAfterAShuffle(float* y) {
  auto& row = Shared<float[64]>();
  WaitForPrevious();
  row[threadIdx.x] = static_cast<float>(__shfl_sync(~0u, threadIdx.x, 0));
  __shfl_sync(~0u, 0, 0);
  y[blockIdx.x * 64 + threadIdx.x] = row[threadIdx.x ^ 31];
}

std::vector<float> Reversed(unsigned seed, void (*kernel)(float*)) {
  const DeviceVector<float> y(3 * 64);
  emulation::seed = seed;
  Finish(kernel, 3, 64, sizeof(float[64]), y.data());
  return y.Read();
}

TEST(Emulation, GivesEqualResultsForEverySeed) {
  std::vector<float> want(3 * 64);
  for (size_t i = 0; i < want.size(); ++i) want[i] = static_cast<float>(63 - i % 64 + i / 64);
  for (const unsigned seed : {1u, 2u, 3u}) EXPECT_EQ(Reversed(seed, Reverses<true>), want);
}

TEST(Emulation, ShufflesThreadsBySeed) {
  if (emulation::FindsRaces()) GTEST_SKIP() << "ThreadSanitizer would report it";
  const auto unwritten = [](unsigned seed) {
    std::vector<size_t> at;
    const std::vector<float> y = Reversed(seed, Reverses<false>);
    for (size_t i = 0; i < y.size(); ++i) {
      if (std::isnan(y[i])) at.push_back(i);
    }
    return at;
  };
  EXPECT_FALSE(unwritten(1).empty());
  EXPECT_EQ(unwritten(1), unwritten(1));
  EXPECT_NE(unwritten(1), unwritten(2));
}

TEST_F(EmulationDeathTest, FindsAMissingBarrier) {
  if (!emulation::FindsRaces()) GTEST_SKIP() << "built without ThreadSanitizer";
  const auto run = [](void (*kernel)(float*)) {
    Reversed(1, kernel);
    std::exit(0);
  };
  EXPECT_EXIT(run(Reverses<false>), ::testing::ExitedWithCode(66), "data race");
  EXPECT_EXIT(run(ReversesAfterAShuffle), ::testing::ExitedWithCode(66), "data race");
  EXPECT_EXIT(run(Reverses<true>), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace softsplice::cuda
