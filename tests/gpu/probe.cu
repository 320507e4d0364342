// gpu_probe: what this device can do at most, as one JSON object: GB/s of a copy and of reading,
// TFLOP/s of mma.sync on BF16, GB/s from pinned memory of the host, microseconds from one kernel of
// a graph to the next. Percentages of floors are read beside these. --small: sizes for the
// emulation.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/device.h"

namespace softsplice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTiles = 8;  // sums of a warp that do not wait for each other

struct Sizes {
  size_t bytes = size_t{2} << 30;  // far more than any cache
  unsigned blocks_per_processor = 8;
  int rounds = 20000;  // of multiplications
  int launches = 1000;
};

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu_probe: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__global__ void Read(uint32_t* found, const uint4* data, size_t count) {
  WaitForPrevious();
  uint32_t bits = 0;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count;
       i += size_t{gridDim.x} * blockDim.x) {
    const uint4 v = data[i];
    bits |= v.x | v.y | v.z | v.w;
  }
  if (bits == 1) *found = bits;  // never, but the compiler does not know
}

__global__ void Multiply(float* found, int rounds) {
  WaitForPrevious();
  // Numbers near 1 and all different: equal ones take less power, and may be multiplied once only.
  const uint32_t ones = 0x3f803f80 + threadIdx.x % 32;
  const uint32_t a[4] = {ones, ones + 33, ones + 65, ones + 97}, b[2] = {ones + 11, ones + 47};
  float sums[kTiles][4];
  for (int i = 0; i < kTiles; ++i) {
    for (int j = 0; j < 4; ++j) sums[i][j] = static_cast<float>(4 * i + j);
  }
  for (int i = 0; i < rounds; ++i) {
#pragma unroll
    for (auto& sum : sums) Mma(sum, a, b);
  }
  for (const auto& sum : sums) {
    if (sum[0] > 1e30f) *found = sum[0];  // never
  }
}

__global__ void Nothing() { WaitForPrevious(); }

class Probe {
 public:
  explicit Probe(const Sizes& sizes) : sizes_(sizes) {
    cudaDeviceProp device;
    Check(cudaGetDeviceProperties(&device, 0), "device");
    blocks_ = static_cast<unsigned>(device.multiProcessorCount) * sizes.blocks_per_processor;
    std::printf("{\"device\": \"%s\", \"processors\": %d", device.name, device.multiProcessorCount);
    Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    for (void** memory : {&from_, &to_}) Check(cudaMalloc(memory, sizes.bytes), "memory");
    Check(cudaMemsetAsync(from_, 0xa6, sizes.bytes, stream_), "memory");
    Check(cudaStreamSynchronize(stream_), "memory");
  }

  void Run() {
    const double gigabytes = 1e-9 * static_cast<double>(sizes_.bytes);
    Print("copy_gb_s", 2 * gigabytes / Best([&] {
                         return cudaMemcpyAsync(to_, from_, sizes_.bytes, cudaMemcpyDeviceToDevice,
                                                stream_);
                       }));
    Print("read_gb_s", gigabytes / Best([&] {
                         return Launch(stream_, dim3{blocks_}, dim3{kThreads}, 0, Read,
                                       static_cast<uint32_t*>(to_), static_cast<uint4*>(from_),
                                       sizes_.bytes / sizeof(uint4));
                       }));
    const double flops = 2.0 * 16 * 8 * 16 * kTiles * sizes_.rounds * blocks_ * kThreads / 32;
    Print("mma_tflop_s", 1e-12 * flops / Best([&] {
                           return Launch(stream_, dim3{blocks_}, dim3{kThreads}, 0, Multiply,
                                         static_cast<float*>(to_), sizes_.rounds);
                         }));
    Print("upload_gb_s", Upload());
    Print("launch_us", LaunchTime());
    std::printf("}\n");
  }

 private:
  static void Print(const char* name, double value) { std::printf(", \"%s\": %.4g", name, value); }

  // The least seconds, of a few, from `enqueue` until all is done.
  template <class Enqueue>
  double Best(const Enqueue& enqueue) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      Check(enqueue(), "launch");
      Check(cudaStreamSynchronize(stream_), "run");
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      best = std::min(best, time.count());
    }
    return best;
  }

  double Upload() {
    const size_t bytes = std::min(sizes_.bytes, size_t{256} << 20);
    void* host = nullptr;
    Check(cudaHostAlloc(&host, bytes, cudaHostAllocDefault), "pinned memory");
    std::memset(host, 0, bytes);
    const double time =
        Best([&] { return cudaMemcpyAsync(to_, host, bytes, cudaMemcpyHostToDevice, stream_); });
    Check(cudaFreeHost(host), "pinned memory");
    return 1e-9 * static_cast<double>(bytes) / time;
  }

  double LaunchTime() {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    Check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < sizes_.launches; ++i) {
      Check(Launch(stream_, dim3{1}, dim3{32}, 0, Nothing), "capture");
    }
    Check(cudaStreamEndCapture(stream_, &graph), "capture");
    Check(cudaGraphInstantiate(&executable, graph, 0), "graph");
    const double time = Best([&] { return cudaGraphLaunch(executable, stream_); });
    Check(cudaGraphExecDestroy(executable), "graph");
    Check(cudaGraphDestroy(graph), "graph");
    return 1e6 * time / sizes_.launches;
  }

  const Sizes sizes_;
  unsigned blocks_ = 0;
  cudaStream_t stream_ = nullptr;
  void* from_ = nullptr;
  void* to_ = nullptr;
};

}  // namespace
}  // namespace softsplice::cuda

int main(int argc, char** argv) {
  using softsplice::cuda::Sizes;
  const bool small = argc == 2 && std::strcmp(argv[1], "--small") == 0;
  softsplice::cuda::Probe(small ? Sizes{1 << 16, 1, 10, 3} : Sizes{}).Run();
}
