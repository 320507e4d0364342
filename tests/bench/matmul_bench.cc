// Linear layers of Gemma 4 E4B: GFLOP/s (GOP/s for quantised weights) and GB/s of weights read (as
// many bytes as a file has of them), and both as percentages of what one loop of multiply-adds and
// one of loads give on this machine. The percentage of multiply-adds is of float32 ones: integer
// kernels may exceed 100. Rates are per CPU second with one thread, per second with more.
// --backend=cuda: the same layers on a device, per second, with weights that its cache does not
// hold.

#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "kernels/backend_factory.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"
#include "tests/kernels/device.h"

namespace softsplice {
namespace {

using gguf::Type;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The least time of `body`, once for each thread of a pool, of 10.
template <class Body>
double Best(int threads, Body body) {
  ThreadPool pool(threads);
  double best = 1e9;
  for (int i = 0; i < 10; ++i) {
    const double start = Seconds();
    pool.ForEach(threads, [&](int, int piece) { body(piece); });
    best = std::min(best, Seconds() - start);
  }
  return best;
}

__attribute__((target("avx2,fma"))) void MultiplyAdds(int64_t count) {
  __m256 sums[12] = {};
  for (__m256& sum : sums) benchmark::DoNotOptimize(sum);  // else they are one and the same
  const __m256 x = _mm256_set1_ps(0.5f);
  for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 12
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, x, x);
  }
  for (__m256& sum : sums) benchmark::DoNotOptimize(sum);
}

// GFLOP/s of float32 multiply-adds in 256-bit registers; 0 where there are none.
double MeasureGflops(int threads) {
  if (!Supported(Isa::kAvx2)) return 0;
  constexpr int64_t kCount = 2'000'000;
  return 12 * 16 * 1e-9 * kCount * threads / Best(threads, [](int) { MultiplyAdds(kCount); });
}

// GB/s that all threads read from large pages together.
double MeasureBandwidth(int threads) {
  constexpr size_t kBytes = size_t{512} << 20;
  const std::shared_ptr<void> buffer = *AllocateHost(kBytes);
  std::memset(buffer.get(), 1, kBytes);
  const size_t words = kBytes / sizeof(uint64_t) / static_cast<size_t>(threads);
  const double seconds = Best(threads, [&](int thread) {
    const uint64_t* p =
        static_cast<const uint64_t*>(buffer.get()) + static_cast<size_t>(thread) * words;
    uint64_t sums[16] = {};
    for (size_t k = 0; k + 16 <= words; k += 16) {
      for (size_t j = 0; j < 16; ++j) sums[j] += p[k + j];
    }
    benchmark::DoNotOptimize(sums);
  });
  return 1e-9 * kBytes / seconds;
}

// Random bytes whose half-precision numbers are small.
std::vector<uint8_t> RandomBlocks(Type type, int outs, int cols) {
  const gguf::TypeInfo& info = gguf::Info(type);
  const size_t blocks = static_cast<size_t>(outs) * static_cast<size_t>(cols / info.block_elements);
  std::vector<uint8_t> bytes(blocks * static_cast<size_t>(info.block_bytes));
  std::minstd_rand random(1);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() >> 8 & 0x1f);
  return bytes;
}

testing::HostMat RandomRows(int rows, int cols) {
  testing::HostMat mat(rows, cols);
  std::minstd_rand random(2);
  for (int r = 0; r < rows; ++r) {
    std::generate_n(mat[r], cols, [&] { return static_cast<float>(random() % 2000) * 1e-3f - 1; });
  }
  return mat;
}

constexpr size_t kMoreThanACache = size_t{256} << 20;

struct Shape {
  Type type;
  int rows, outs, cols;
};

// What this machine's CPU can do, beside which its rates are shown.
void AddShares(benchmark::State& state, int threads, double work, double read) {
  static const double gflops[] = {MeasureGflops(1), MeasureGflops(2)};
  static const double bandwidth[] = {MeasureBandwidth(1), MeasureBandwidth(2)};
  const auto rate = benchmark::Counter::kIsRate;
  if (gflops[threads - 1] > 0) {
    state.counters["%fma"] = benchmark::Counter(100 * work / gflops[threads - 1], rate);
  }
  state.counters["%read"] = benchmark::Counter(100 * read / bandwidth[threads - 1], rate);
}

void BM_Matmul(benchmark::State& state, const Shape& shape, const BackendOptions& options) {
  const auto [type, rows, outs, cols] = shape;
  const bool on_device = options.name == "cuda";
  const std::unique_ptr<Backend> backend = *MakeBackend(options);
  testing::Device on(*backend);
  std::vector<uint8_t> bytes = RandomBlocks(type, outs, cols);
  const double weight_bytes = static_cast<double>(bytes.size());
  // A device's cache holds a layer; a model has many.
  const size_t copies = on_device ? kMoreThanACache / bytes.size() + 1 : 1;
  std::vector<const Weight*> weights;
  while (weights.size() < copies) {
    weights.push_back(&on.Pack({.name = "w",
                                .type = type,
                                .dims = {cols, outs},
                                .data = bytes.data(),
                                .bytes = bytes.size()},
                               Use::kLinear));
  }
  bytes = {};
  const Mat x = on.Copy(RandomRows(rows, cols));
  const Mat y = on.New(rows, outs);
  const auto run = [&] {
    for (const Weight* w : weights) on->Matmul(y, x, *w);
    benchmark::DoNotOptimize(on->Wait());
  };
  run();  // grows the backend's buffers
  while (state.KeepRunningBatch(static_cast<int64_t>(copies))) run();

  const double runs = static_cast<double>(state.iterations());
  const double work = 2e-9 * rows * outs * cols * runs;
  const double read = 1e-9 * runs * weight_bytes;
  const auto rate = benchmark::Counter::kIsRate;
  state.counters["GFLOP/s"] = benchmark::Counter(work, rate);
  state.counters["GB/s"] = benchmark::Counter(read, rate);
  if (!on_device) AddShares(state, options.threads, work, read);
}

void Register(const std::string& backend) {
  constexpr Shape kShapes[] = {
      // The image tower at 280 soft tokens.
      {Type::kF16, 2520, 768, 768},
      {Type::kF16, 2520, 3072, 768},
      {Type::kF16, 2520, 768, 3072},
      // Prefill of the text trunk, and a batch of decoding rows.
      {Type::kQ4_0, 256, 10240, 2560},
      {Type::kQ4_0, 256, 2560, 10240},
      {Type::kBF16, 256, 10752, 2560},
      {Type::kQ4_K, 256, 10240, 2560},
      {Type::kQ8_0, 256, 10240, 2560},
      {Type::kBF16, 2048, 10240, 2560},
      {Type::kQ4_0, 2048, 10240, 2560},
      {Type::kBF16, 64, 10240, 2560},
      {Type::kQ4_0, 64, 10240, 2560},
      // Rows of several sequences that write.
      {Type::kQ4_0, 4, 81920, 2560},
      {Type::kQ4_0, 8, 81920, 2560},
      {Type::kQ4_0, 16, 81920, 2560},
      {Type::kQ4_0, 32, 81920, 2560},
      {Type::kQ4_K, 8, 81920, 2560},
      {Type::kQ4_K, 16, 81920, 2560},
      {Type::kQ6_K, 4, 65536, 2560},
      {Type::kQ6_K, 8, 65536, 2560},
      {Type::kQ6_K, 16, 65536, 2560},
      {Type::kQ8_0, 8, 40960, 2560},
      {Type::kQ8_0, 16, 40960, 2560},
      {Type::kBF16, 8, 40960, 2560},
      // Decoding one row; the last ones are larger than any cache.
      {Type::kBF16, 1, 10240, 2560},
      {Type::kBF16, 1, 2560, 10240},
      {Type::kQ4_0, 1, 2560, 2560},
      {Type::kQ4_0, 1, 10240, 2560},
      {Type::kQ4_0, 1, 81920, 2560},
      {Type::kQ4_K, 1, 81920, 2560},
      {Type::kQ6_K, 1, 65536, 2560},
      {Type::kQ8_0, 1, 40960, 2560},
      {Type::kF16, 1, 40960, 2560},
  };
  const bool on_device = backend == "cuda";
  for (const Shape& shape : kShapes) {
    for (const int threads : on_device ? std::vector<int>{1} : std::vector<int>{1, 2}) {
      const std::string name =
          absl::StrCat(gguf::Info(shape.type).name, "/", shape.rows, "x", shape.outs, "x",
                       shape.cols, on_device ? "" : absl::StrCat("/threads:", threads));
      auto* bench = benchmark::RegisterBenchmark(
          name.c_str(), BM_Matmul, shape, BackendOptions{.name = backend, .threads = threads});
      bench->Unit(benchmark::kMicrosecond);
      if (on_device || threads > 1) bench->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  absl::string_view backend = "--backend=cpu";
  if (argc == 2) backend = argv[1];
  if (argc > 2 || !absl::ConsumePrefix(&backend, "--backend=")) {
    std::cerr << "usage: matmul_bench [--backend=NAME] [--benchmark_...]\n";
    return 2;
  }
  softsplice::Register(std::string(backend));
  benchmark::RunSpecifiedBenchmarks();
}
