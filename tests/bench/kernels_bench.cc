// Achieved GFLOP/s of the attentions and GB/s of the memory-bound ops (as if every number came from
// memory once; a sound's matrices fit a large cache) on this machine's best
// instruction set, at the models' shapes. Floors: the cores' multiply-add peak, the memory's speed.
// --backend=cuda: on a device, where the benchmarks of several threads are not worth running.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/strip.h"
#include "kernels/backend_factory.h"
#include "tests/kernels/device.h"

namespace softsplice {
namespace {

using testing::HostMat;

std::string backend_name = "cpu";

// A backend, and what one benchmark keeps in its memory.
class Bench {
 public:
  explicit Bench(int threads)
      : backend_(*MakeBackend({.name = backend_name, .threads = threads})) {}

  // Small varied numbers; as halves, bits of 2^-3.
  Mat New(int rows, int cols, DType type = DType::kF32) {
    HostMat mat(rows, cols, 0, type);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) {
        const int value = (r * 31 + c * 17) % 64 - 32;
        if (type == DType::kF32) mat(r, c) = static_cast<float>(value) / 256;
        if (type == DType::kF16) mat.Row<uint16_t>(r)[c] = static_cast<uint16_t>(0x3000 + value);
      }
    }
    return on_.Copy(mat);
  }
  Mat Ints(const std::vector<int>& values) { return on_.Ints(values); }
  const Weight& Vector(int size) {
    HostMat values(1, size);
    for (int c = 0; c < size; ++c) values(0, c) = static_cast<float>(c * 17 % 64 - 32) / 256;
    return on_.Vector(values);
  }

  // Times op(backend) until its results are there; on a device many at a time, as a model runs
  // them.
  template <class Op>
  void Run(benchmark::State& state, Op op) {
    const int ops = backend_name == "cuda" ? 64 : 1;
    while (state.KeepRunningBatch(ops)) {
      for (int i = 0; i < ops; ++i) op(*on_);
      benchmark::DoNotOptimize(on_->Wait());
    }
  }

 private:
  std::unique_ptr<Backend> backend_;
  testing::Device on_{*backend_};
};

void Rate(benchmark::State& state, const char* name, double per_iteration) {
  state.counters[name] =
      benchmark::Counter(per_iteration / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}

// One sequence's last `rows` rows before `context`; E4B: 8 heads, 2 KV heads, F16 caches.
void Attention(benchmark::State& state, int threads, int head_dim, int window, int rows,
               int context) {
  Bench bench(threads);
  const AttentionSpec spec{.heads = 8, .kv_heads = 2, .head_dim = head_dim, .window = window};
  constexpr int kBlockRows = 64;
  std::vector<int> blocks;
  std::vector<int> positions;
  for (int i = 0; i < context / kBlockRows; ++i) blocks.push_back(i);
  for (int i = context - rows; i < context; ++i) positions.push_back(i);
  Mat table = bench.Ints(blocks);
  table = {table.data, 1, table.rows, table.rows, DType::kI32};
  const KvPages pages{table, bench.Ints({context / kBlockRows}), kBlockRows};
  const KvLayer kv{bench.New(context, 2 * head_dim, DType::kF16),
                   bench.New(context, 2 * head_dim, DType::kF16)};
  const RowMap map{bench.Ints(std::vector<int>(static_cast<size_t>(rows), 0)),
                   bench.Ints(positions)};
  const Mat q = bench.New(rows, 8 * head_dim);
  const Mat y = bench.New(rows, 8 * head_dim);
  bench.Run(state, [&](Backend& b) { b.Attention(y, q, kv, map, pages, spec); });
  double seen = 0;
  for (const int p : positions) seen += window == 0 ? p + 1 : std::min(p + 1, window);
  Rate(state, "GFLOP/s", seen * 8 * head_dim * 4);
  const double last = window == 0 ? context : std::min(context, window + rows - 1);
  Rate(state, "GB/s", last * 2 * head_dim * 2 * 2);
}
BENCHMARK_CAPTURE(Attention, prefill_full, 1, 512, 0, 512, 4096)->UseRealTime();
BENCHMARK_CAPTURE(Attention, prefill_full_2_threads, 2, 512, 0, 512, 4096)->UseRealTime();
BENCHMARK_CAPTURE(Attention, prefill_sliding, 1, 256, 512, 512, 4096)->UseRealTime();
BENCHMARK_CAPTURE(Attention, prefill_sliding_2_threads, 2, 256, 512, 512, 4096)->UseRealTime();
BENCHMARK_CAPTURE(Attention, decode_full, 1, 512, 0, 1, 16384)->UseRealTime();
BENCHMARK_CAPTURE(Attention, decode_full_2_threads, 2, 512, 0, 1, 16384)->UseRealTime();
BENCHMARK_CAPTURE(Attention, decode_sliding, 1, 256, 512, 1, 16384)->UseRealTime();
BENCHMARK_CAPTURE(Attention, decode_sliding_2_threads, 2, 256, 512, 1, 16384)->UseRealTime();

// One picture of 280 tokens: 12 heads of 64.
void SelfAttention(benchmark::State& state, int threads) {
  constexpr int kRows = 2520;
  Bench bench(threads);
  const Mat q = bench.New(kRows, 768);
  const Mat k = bench.New(kRows, 768);
  const Mat v = bench.New(kRows, 768);
  const Mat y = bench.New(kRows, 768);
  const Mat starts = bench.Ints({0, kRows});
  bench.Run(state, [&](Backend& b) { b.SelfAttention(y, q, k, v, starts, 12); });
  Rate(state, "GFLOP/s", 4.0 * kRows * kRows * 768);
}
BENCHMARK_CAPTURE(SelfAttention, one_thread, 1)->UseRealTime();
BENCHMARK_CAPTURE(SelfAttention, two_threads, 2)->UseRealTime();

void RmsNorm(benchmark::State& state) {
  Bench bench(1);
  const int rows = static_cast<int>(state.range(0));
  const Mat x = bench.New(rows, 2560);
  const Mat y = bench.New(rows, 2560);
  bench.Run(state, [&](Backend& b) { b.RmsNorm(y, x, nullptr, 1e-6f); });
  Rate(state, "GB/s", 2.0 * rows * 2560 * 4);
}
BENCHMARK(RmsNorm)->Arg(1)->Arg(512);

void GeluMul(benchmark::State& state) {
  Bench bench(1);
  const Mat gate = bench.New(512, 10240);
  const Mat up = bench.New(512, 10240);
  bench.Run(state, [&](Backend& b) { b.GeluMul(gate, up, Gelu::kTanh); });
  Rate(state, "GB/s", 3.0 * 512 * 10240 * 4);
}
BENCHMARK(GeluMul);

void Rope(benchmark::State& state) {
  Bench bench(1);
  const Mat x = bench.New(512, 8 * 256);
  std::vector<int> positions(512);
  for (int i = 0; i < 512; ++i) positions[static_cast<size_t>(i)] = 1000 + i;
  const Mat at = bench.Ints(positions);
  bench.Run(state, [&](Backend& b) { b.Rope(x, at, {.head_dim = 256, .count = 256}); });
  Rate(state, "GB/s", 2.0 * 512 * 8 * 256 * 4);
}
BENCHMARK(Rope);

// A sound of 30 s: 3000 mel frames, 750 rows after two convolutions, width 1024.
constexpr int kSoundRows = 750;
constexpr int kSoundWidth = 1024;

// The patches of the second convolution, some frames at a time as the model takes them.
void Unfold(benchmark::State& state, int threads) {
  constexpr int kFrames = 7;
  constexpr int kColumns = 32;
  Bench bench(threads);
  const Mat x = bench.New(2 * kSoundRows, 64 * 128);
  const Mat y = bench.New(kFrames * kColumns, 9 * 128);
  bench.Run(state, [&](Backend& b) {
    for (int first = 0; first < kSoundRows; first += kFrames) {
      const int frames = std::min(kFrames, kSoundRows - first);
      b.Unfold(y.Rows(0, frames * kColumns), x, 128, first);
    }
  });
  Rate(state, "GB/s", 2.0 * kSoundRows * kColumns * 9 * 128 * 4);
}
BENCHMARK_CAPTURE(Unfold, one_thread, 1)->UseRealTime();
BENCHMARK_CAPTURE(Unfold, two_threads, 2)->UseRealTime();

// Over the channels of some of the first convolution's results.
void LayerNorm(benchmark::State& state) {
  constexpr int kRows = 2048;
  Bench bench(1);
  const int channels = static_cast<int>(state.range(0));
  const Mat x = bench.New(kRows, channels);
  const Weight& gain = bench.Vector(channels);
  bench.Run(state, [&](Backend& b) { b.LayerNorm(x, x, gain, 1e-6f); });
  Rate(state, "GB/s", 2.0 * kRows * channels * 4);
}
BENCHMARK(LayerNorm)->Arg(128)->Arg(32);

void Silu(benchmark::State& state) {
  Bench bench(1);
  const Mat x = bench.New(kSoundRows, 4 * kSoundWidth);
  bench.Run(state, [&](Backend& b) { b.Silu(x); });
  Rate(state, "GB/s", 2.0 * kSoundRows * 4 * kSoundWidth * 4);
}
BENCHMARK(Silu);

void Glu(benchmark::State& state) {
  Bench bench(1);
  const Mat x = bench.New(kSoundRows, 2 * kSoundWidth);
  const Mat y = bench.New(kSoundRows, kSoundWidth);
  bench.Run(state, [&](Backend& b) { b.Glu(y, x); });
  Rate(state, "GB/s", 3.0 * kSoundRows * kSoundWidth * 4);
}
BENCHMARK(Glu);

void DepthwiseConv(benchmark::State& state) {
  Bench bench(1);
  const Mat x = bench.New(kSoundRows, kSoundWidth);
  const Mat y = bench.New(kSoundRows, kSoundWidth);
  const Weight& kernel = bench.Vector(5 * kSoundWidth);
  const Mat starts = bench.Ints({0, kSoundRows});
  bench.Run(state, [&](Backend& b) { b.DepthwiseConv(y, x, kernel, starts); });
  Rate(state, "GB/s", 2.0 * kSoundRows * kSoundWidth * 4);
}
BENCHMARK(DepthwiseConv);

void LocalAttention(benchmark::State& state, int threads) {
  constexpr int kSeen = 12;
  Bench bench(threads);
  const Mat q = bench.New(kSoundRows, kSoundWidth);
  const Mat k = bench.New(kSoundRows, kSoundWidth);
  const Mat v = bench.New(kSoundRows, kSoundWidth);
  const Mat y = bench.New(kSoundRows, kSoundWidth);
  const Mat relative = bench.New(kSeen, kSoundWidth);
  const Mat starts = bench.Ints({0, kSoundRows});
  bench.Run(state, [&](Backend& b) {
    b.LocalAttention(y, q, k, v, relative, starts, {.heads = 8, .left = kSeen - 1, .cap = 50});
  });
  Rate(state, "GFLOP/s", 6.0 * kSoundRows * kSeen * kSoundWidth);
}
BENCHMARK_CAPTURE(LocalAttention, one_thread, 1)->UseRealTime();
BENCHMARK_CAPTURE(LocalAttention, two_threads, 2)->UseRealTime();

}  // namespace
}  // namespace softsplice

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  absl::string_view backend = "--backend=cpu";
  if (argc == 2) backend = argv[1];
  if (argc > 2 || !absl::ConsumePrefix(&backend, "--backend=")) {
    std::cerr << "usage: kernels_bench [--backend=NAME] [--benchmark_...]\n";
    return 2;
  }
  softsplice::backend_name = std::string(backend);
  benchmark::RunSpecifiedBenchmarks();
}
