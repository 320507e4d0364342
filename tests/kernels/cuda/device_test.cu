// Each word of the language of kernels against what its documentation says: the same test with and
// without a GPU.
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cuda/device.h"
#include "tests/kernels/cuda/testing.h"

namespace softsplice::cuda {
namespace {

std::vector<float> SmallInts(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 17) - 8);
  return values;
}

// d [16, 8] = a [16, 16] b [16, 8] in the lanes' registers.
template <bool kHalf>
__global__ void MultiplyTile(float* d, const float* a, const float* b) {
  WaitForPrevious();
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto pack = [](float first, float second) {
    return kHalf ? PackHalf(first, second) : PackBFloat16(first, second);
  };
  uint32_t of_a[4], of_b[2];
  for (int i = 0; i < 4; ++i) {
    const float* at = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
    of_a[i] = pack(at[0], at[1]);
  }
  for (int i = 0; i < 2; ++i) {
    const float* at = b + (2 * t + i * 8) * 8 + g;
    of_b[i] = pack(at[0], at[8]);
  }
  float sum[4] = {1, 1, 1, 1};
  if (kHalf) {
    MmaF16(sum, of_a, of_b);
  } else {
    Mma(sum, of_a, of_b);
  }
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

TEST(Device, MultipliesTiles) {
  const std::vector<float> a = SmallInts(16 * 16, 1), b = SmallInts(16 * 8, 2);
  for (const auto kernel : {MultiplyTile<false>, MultiplyTile<true>}) {
    const DeviceVector<float> on_device_a(a), on_device_b(b), d(16 * 8);
    ASSERT_EQ(Launch(nullptr, dim3{1}, dim3{32}, 0, kernel, d.data(), on_device_a.data(),
                     on_device_b.data()),
              cudaSuccess);
    const std::vector<float> got = d.Read();
    for (int i = 0; i < 16 * 8; ++i) {
      float want = 1;
      for (int k = 0; k < 16; ++k) want += a[i / 8 * 16 + k] * b[k * 8 + i % 8];
      EXPECT_EQ(got[i], want) << i;  // small whole numbers: exact in any order
    }
  }
}

// Four 8 x 8 matrices below each other, whose rows are 24 numbers apart, fragment by fragment.
template <int N, bool kTransposed>
__global__ void LoadTiles(uint32_t* fragments, const uint16_t* matrices) {
  struct Tile {
    alignas(16) uint16_t rows[32][24];
  };
  auto& tile = Shared<Tile>();
  WaitForPrevious();
  for (int i = 0; i < 8; ++i) tile.rows[threadIdx.x][i] = matrices[threadIdx.x * 8 + i];
  __syncwarp();
  uint32_t d[N];
  if (kTransposed) {
    LoadMatrixTransposed(d, tile.rows[threadIdx.x % (8 * N)]);
  } else {
    LoadMatrix(d, tile.rows[threadIdx.x % (8 * N)]);
  }
  for (int i = 0; i < N; ++i) fragments[i * 32 + threadIdx.x] = d[i];
}

template <int N, bool kTransposed>
void ExpectFragments() {
  std::vector<uint16_t> matrices(4 * 64);
  for (size_t i = 0; i < matrices.size(); ++i) matrices[i] = static_cast<uint16_t>(i * 257);
  const DeviceVector<uint16_t> on_device(matrices);
  const DeviceVector<uint32_t> fragments(32 * N);
  ASSERT_EQ(Launch(nullptr, dim3{1}, dim3{32}, 32 * 24 * 2, LoadTiles<N, kTransposed>,
                   fragments.data(), on_device.data()),
            cudaSuccess);
  const std::vector<uint32_t> got = fragments.Read();
  for (int i = 0; i < 32 * N; ++i) {
    const int g = i % 32 / 4, t = i % 4;
    for (int j = 0; j < 2; ++j) {
      const int at = kTransposed ? (2 * t + j) * 8 + g : g * 8 + 2 * t + j;
      EXPECT_EQ(static_cast<uint16_t>(got[i] >> 16 * j), matrices[i / 32 * 64 + at]) << i;
    }
  }
}

TEST(Device, LoadsMatrices) {
  ExpectFragments<1, false>();
  ExpectFragments<2, false>();
  ExpectFragments<4, false>();
  ExpectFragments<1, true>();
  ExpectFragments<2, true>();
  ExpectFragments<4, true>();
}

struct Exchanged {
  int other, first, above, below;
  unsigned odd;
  int any, all;
};

__global__ void ExchangeValues(Exchanged* results) {
  WaitForPrevious();
  const int lane = threadIdx.x % 32, value = 100 + static_cast<int>(threadIdx.x);
  results[threadIdx.x] = {__shfl_xor_sync(~0u, value, 5),
                          __shfl_sync(~0u, value, 3),
                          __shfl_up_sync(~0u, value, 2),
                          __shfl_down_sync(~0u, value, 2),
                          __ballot_sync(~0u, lane % 2),
                          __any_sync(~0u, lane == 7 && threadIdx.x > 31),
                          __all_sync(~0u, lane < 32 && threadIdx.x > 31)};
}

TEST(Device, ExchangesValuesInEachWarp) {
  const DeviceVector<Exchanged> results(64);
  ASSERT_EQ(Launch(nullptr, dim3{1}, dim3{64}, 0, ExchangeValues, results.data()), cudaSuccess);
  const std::vector<Exchanged> got = results.Read();
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32, warp = 100 + i / 32 * 32;
    EXPECT_EQ(got[i].other, warp + (lane ^ 5));
    EXPECT_EQ(got[i].first, warp + 3);
    EXPECT_EQ(got[i].above, warp + (lane < 2 ? lane : lane - 2));
    EXPECT_EQ(got[i].below, warp + (lane > 29 ? lane : lane + 2));
    EXPECT_EQ(got[i].odd, 0xaaaaaaaau);
    EXPECT_EQ(got[i].any, i / 32);
    EXPECT_EQ(got[i].all, i / 32);
  }
}

__global__ void CopyPieces(uint4* to, const uint4* from) {
  struct Pieces {
    uint4 of[3][32];
  };
  auto& pieces = Shared<Pieces>();
  WaitForPrevious();
  for (int stage = 0; stage < 3; ++stage) {
    CopyAsync(&pieces.of[stage][threadIdx.x], from + stage * 32 + threadIdx.x, stage != 1);
    CommitCopies();
  }
  WaitForCopies<1>();
  __syncthreads();
  const int other = 31 - static_cast<int>(threadIdx.x);
  for (int stage = 0; stage < 2; ++stage) to[stage * 32 + other] = pieces.of[stage][other];
  WaitForCopies<0>();
  __syncthreads();
  to[2 * 32 + other] = pieces.of[2][other];
}

TEST(Device, CopiesAsynchronously) {
  std::vector<uint4> from(96);
  for (uint32_t i = 0; i < 96; ++i) from[i] = {i, i + 1000, i * i, ~i};
  const DeviceVector<uint4> on_device(from), to(96);
  ASSERT_EQ(Launch(nullptr, dim3{1}, dim3{32}, 96 * 16, CopyPieces, to.data(), on_device.data()),
            cudaSuccess);
  const std::vector<uint4> got = to.Read();
  for (int i = 0; i < 96; ++i) {
    const uint4 want = i / 32 == 1 ? uint4{} : from[i];  // the second stage was not live
    EXPECT_TRUE(got[i].x == want.x && got[i].y == want.y && got[i].z == want.z &&
                got[i].w == want.w)
        << i;
  }
}

struct Converted {
  uint16_t half, bfloat16;
  float from_half, from_bfloat16;
  uint32_t halves, bfloat16s, difference;
};

__global__ void Convert(Converted* results, const float* values) {
  WaitForPrevious();
  const float x = values[threadIdx.x];
  const uint16_t half = FloatToHalf(x), bfloat16 = FloatToBFloat16(x);
  results[threadIdx.x] = {half,
                          bfloat16,
                          HalfToFloat(half),
                          BFloat16ToFloat(bfloat16),
                          PackHalf(x, -1),
                          PackBFloat16(x, -1),
                          SubtractBFloat16(PackBFloat16(131, 128), PackBFloat16(136, 136))};
}

TEST(Device, ConvertsNumbers) {
  // With what each type makes of them: exact, tied to even, small, too large.
  const std::vector<float> values = {1.5f, 1 + 0x1p-11f, 1 + 0x3p-11f, 1 + 0x1p-8f, 0x1p-24f, 7e4f};
  const std::vector<uint16_t> halves = {0x3e00, 0x3c00, 0x3c02, 0x3c04, 0x0001, 0x7c00};
  const std::vector<uint16_t> bfloat16s = {0x3fc0, 0x3f80, 0x3f80, 0x3f80, 0x3380, 0x4789};
  std::vector<float> all = values;
  all.resize(32);
  const DeviceVector<float> on_device(all);
  const DeviceVector<Converted> results(32);
  ASSERT_EQ(Launch(nullptr, dim3{1}, dim3{32}, 0, Convert, results.data(), on_device.data()),
            cudaSuccess);
  const std::vector<Converted> got = results.Read();
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(got[i].half, halves[i]) << i;
    EXPECT_EQ(got[i].bfloat16, bfloat16s[i]) << i;
    EXPECT_EQ(got[i].halves, halves[i] | 0xbc000000u) << i;
    EXPECT_EQ(got[i].bfloat16s, bfloat16s[i] | 0xbf800000u) << i;
    EXPECT_EQ(got[i].difference, 0xc100c0a0u) << i;  // -5, -8
  }
  EXPECT_EQ(got[4].from_half, 0x1p-24f);
  EXPECT_EQ(got[0].from_bfloat16, 1.5f);
}

// The last block that is done adds up what all blocks have written.
__global__ void SumOfBlocks(float* sum, float* parts, unsigned* done) {
  auto& last = Shared<bool>();
  WaitForPrevious();
  const int blocks = static_cast<int>(gridDim.x * gridDim.y);
  const int block = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    parts[block] = static_cast<float>(block + 1);
    last = CountUp(done) + 1 == static_cast<unsigned>(blocks);
  }
  __syncthreads();
  if (!last) return;
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  if (thread != 63) return;
  float total = 0;
  for (int i = 0; i < blocks; ++i) total += __ldcg(parts + i);
  *sum = total;
  *done = 0;
}

TEST(Device, LetsTheLastBlockFinish) {
  const DeviceVector<float> sum(1), parts(15);
  const DeviceVector<unsigned> done(std::vector<unsigned>{0});
  ASSERT_EQ(Launch(nullptr, dim3{5, 3}, dim3{8, 4, 2}, 1, SumOfBlocks, sum.data(), parts.data(),
                   done.data()),
            cudaSuccess);
  EXPECT_EQ(sum.Read()[0], 120);
  EXPECT_EQ(done.Read()[0], 0u);
}

}  // namespace
}  // namespace softsplice::cuda
