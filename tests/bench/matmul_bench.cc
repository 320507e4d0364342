// Linear layers of Gemma 4 E4B: GFLOP/s (GOP/s for quantised weights), GB/s of weights read, and
// percent of what this machine's multiply-add units and memory gave in the same process.
// Rates are per CPU second of one thread where there is one, per second otherwise.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/matmul/huge_buffer.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/cpu/matmul/packed.h"

namespace softsplice {
namespace {

using gguf::Type;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Bytes per second that all threads read from large pages together: the best of 5.
double MeasureBandwidth(int threads) {
  constexpr size_t kBytes = size_t{512} << 20;
  const HugeBuffer buffer(kBytes);
  ThreadPool pool(threads);
  const size_t words = kBytes / sizeof(uint64_t) / static_cast<size_t>(threads);
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  std::memset(buffer.data(), 1, kBytes);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double start = Seconds();
    pool.Run([&](int thread) {
      const uint64_t* p =
          reinterpret_cast<const uint64_t*>(buffer.data()) + static_cast<size_t>(thread) * words;
      uint64_t lanes[16] = {};
      for (size_t k = 0; k + 16 <= words; k += 16) {
        for (size_t j = 0; j < 16; ++j) lanes[j] += p[k + j];
      }
      for (uint64_t lane : lanes) sums[static_cast<size_t>(thread) * 8] += lane;
    });
    best = std::min(best, Seconds() - start);
  }
  benchmark::DoNotOptimize(sums.data());
  return static_cast<double>(kBytes) / best;
}

// A packed weight of random bytes whose scales are small halves, so that sums stay finite.
Weight RandomWeight(Type type, int outs, int cols, ThreadPool& pool) {
  const gguf::TypeInfo& info = gguf::Info(type);
  const size_t blocks = static_cast<size_t>(outs) * static_cast<size_t>(cols / info.block_elements);
  std::vector<uint8_t> bytes(blocks * static_cast<size_t>(info.block_bytes));
  std::minstd_rand random(1);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() >> 8 & 0x1f);
  const gguf::Tensor tensor = {
      .name = "w", .type = type, .dims = {cols, outs}, .data = bytes.data(), .bytes = bytes.size()};
  return PackLinear(tensor, BestIsa(), false, pool).value();
}

void BM_Matmul(benchmark::State& state, Type type, int rows, int outs, int cols, int threads) {
  ThreadPool pool(threads);
  const Weight w = RandomWeight(type, outs, cols, pool);
  const size_t weight_bytes = static_cast<const PackedLinear*>(w.packed.get())->data.bytes();
  std::vector<float> x(static_cast<size_t>(rows) * static_cast<size_t>(cols));
  std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(outs));
  std::minstd_rand random(2);
  for (float& value : x) value = static_cast<float>(random() % 2000) * 1e-3f - 1;
  MatmulScratch scratch;
  const Mat xs{x.data(), rows, cols, cols};
  const Mat ys{y.data(), rows, outs, outs};
  Matmul(ys, xs, w, scratch, pool);
  for (auto _ : state) Matmul(ys, xs, w, scratch, pool);
  const double runs = static_cast<double>(state.iterations());
  const double work = 2e-9 * rows * outs * cols * runs;
  const double gigabytes = 1e-9 * static_cast<double>(weight_bytes) * runs;
  static const double bandwidth[] = {MeasureBandwidth(1) * 1e-9, MeasureBandwidth(2) * 1e-9};
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(work, Counter::kIsRate);
  state.counters["GB/s"] = Counter(gigabytes, Counter::kIsRate);
  state.counters["%bandwidth"] =
      Counter(100 * gigabytes / bandwidth[std::min(threads, 2) - 1], Counter::kIsRate);
}

struct Shape {
  Type type;
  int rows, outs, cols;
};

void Register() {
  constexpr Shape kShapes[] = {
      // The image tower at 280 soft tokens.
      {Type::kF16, 2520, 768, 768},
      {Type::kF16, 2520, 3072, 768},
      {Type::kF16, 2520, 768, 3072},
      // Prefill and decode of the text trunk.
      {Type::kQ4_0, 256, 10240, 2560},
      {Type::kQ4_0, 256, 2560, 10240},
      {Type::kQ4_0, 1, 10240, 2560},
      {Type::kQ4_0, 1, 2560, 10240},
      {Type::kQ4_0, 1, 2560, 2560},
      {Type::kF16, 1, 10752, 2560},
      {Type::kBF16, 256, 10752, 2560},
  };
  for (const Shape& s : kShapes) {
    for (int threads : {1, 2}) {
      const std::string name = absl::StrCat(absl::string_view(gguf::Info(s.type).name), "/", s.rows,
                                            "x", s.outs, "x", s.cols, "/threads:", threads);
      auto* bench = benchmark::RegisterBenchmark(name.c_str(), BM_Matmul, s.type, s.rows, s.outs,
                                                 s.cols, threads);
      bench->Unit(benchmark::kMicrosecond);
      if (threads > 1) bench->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  softsplice::Register();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
