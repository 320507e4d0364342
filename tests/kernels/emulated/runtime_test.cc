// The emulated runtime does its work when somebody waits, and fails when told to.
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/device.h"
#include "tests/kernels/cuda/testing.h"

namespace softsplice::cuda {
namespace {

__global__ void AddOne(float* x) {
  WaitForPrevious();
  x[threadIdx.x] += 1;
}

class RuntimeTest : public ::testing::Test {
 protected:
  RuntimeTest() {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  ~RuntimeTest() override {
    emulation::Restore();
    EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
  }
  cudaError_t Add(float* x) { return Launch(stream_, dim3{1}, dim3{32}, 0, AddOne, x); }
  cudaError_t Copy(void* to, const void* from, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, 32 * sizeof(float), kind, stream_);
  }

  cudaStream_t stream_ = nullptr;
};

TEST_F(RuntimeTest, WorksWhenSomebodyWaits) {
  const DeviceVector<float> x(32);
  std::vector<float> host(32, 1);
  EXPECT_EQ(Copy(x.data(), host.data(), cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(Add(x.data()), cudaSuccess);
  EXPECT_EQ(Copy(host.data(), x.data(), cudaMemcpyDeviceToHost), cudaSuccess);
  host[0] = 5;  // too early: the copy to the device has not begun
  EXPECT_EQ(host[1], 1);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(host[0], 6);
  EXPECT_EQ(host[1], 2);
}

TEST_F(RuntimeTest, WaitsForAnEventAndNoFurther) {
  std::vector<float> first(32), second(32);
  const DeviceVector<float> x(std::vector<float>(32, 0));
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  EXPECT_EQ(Copy(first.data(), x.data(), cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
  EXPECT_EQ(Add(x.data()), cudaSuccess);
  first[0] = second[0] = -1;
  EXPECT_EQ(Copy(second.data(), x.data(), cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(first[0], 0);
  EXPECT_EQ(second[0], -1);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(RuntimeTest, CopiesRowsApart) {
  const DeviceVector<float> x(6);
  const std::vector<float> dense = {1, 2, 3, 4};
  ASSERT_EQ(cudaMemcpy2DAsync(x.data(), 3 * 4, dense.data(), 2 * 4, 2 * 4, 2,
                              cudaMemcpyHostToDevice, stream_),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  const std::vector<float> got = x.Read();
  EXPECT_EQ((std::vector<float>{got[0], got[1], got[3], got[4]}), dense);
  EXPECT_NE(got[2], got[2]);
}

TEST_F(RuntimeTest, ReplaysAGraphWithTheArgumentsOfItsCapture) {
  const DeviceVector<float> x(std::vector<float>(32, 0)), other(std::vector<float>(32, 0));
  float* argument = x.data();
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(Add(argument), cudaSuccess);
  EXPECT_EQ(Add(argument), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorStreamCaptureUnsupported);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 1), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 0);  // nothing has run
  argument = other.data();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(x.Read()[31], 6);
  EXPECT_EQ(other.Read()[31], 0);
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
}

TEST_F(RuntimeTest, RefusesToMixUpDeviceAndHost) {
  const DeviceVector<float> x(32);
  std::vector<float> host(32);
  EXPECT_EQ(Copy(host.data(), host.data(), cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(Copy(x.data(), x.data(), cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(Copy(x.data() + 1, host.data(), cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(RuntimeTest, RefusesLaunchesThatNoDeviceTakes) {
  const auto launch = [&](dim3 blocks, dim3 threads, size_t shared) {
    return Launch(stream_, blocks, threads, shared, AddOne, static_cast<float*>(nullptr));
  };
  EXPECT_EQ(launch(dim3{0}, dim3{32}, 0), cudaSuccess);  // nothing to do
  EXPECT_EQ(launch(dim3{1, 0}, dim3{32}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3{1, 65536}, dim3{32}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3{1}, dim3{33}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3{1}, dim3{32, 33}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3{1}, dim3{32}, emulation::kMostShared + 1), cudaErrorInvalidConfiguration);
}

TEST_F(RuntimeTest, RunsOutOfMemory) {
  void* memory = nullptr;
  size_t before = 0, after = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&before, &total), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&memory, before + 1), cudaErrorMemoryAllocation);
  emulation::faults.allocation = 2;
  EXPECT_EQ(cudaMalloc(&memory, 1000), cudaSuccess);
  EXPECT_EQ(cudaMemGetInfo(&after, &total), cudaSuccess);
  EXPECT_EQ(before - after, 1000u);
  void* second = nullptr;
  EXPECT_EQ(cudaMalloc(&second, 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
}

TEST_F(RuntimeTest, LosesTheDeviceInTheMiddleOfAStream) {
  const DeviceVector<float> x(std::vector<float>(32, 0));
  emulation::faults.launch = 2;
  EXPECT_EQ(Add(x.data()), cudaSuccess);
  EXPECT_EQ(Add(x.data()), cudaSuccess);  // runs later
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorLaunchFailure);
  EXPECT_EQ(Add(x.data()), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  emulation::Restore();
  EXPECT_EQ(x.Read()[0], 1);
}

// Each thread has a current one; streams and memory are of that one.
TEST_F(RuntimeTest, HasSeveralDevices) {
  emulation::faults.device_count = 2;
  const DeviceVector<float> x(std::vector<float>(32, 0));
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, total);
  EXPECT_EQ(Add(x.data()), cudaErrorInvalidResourceHandle);
  emulation::faults.launch = 1;
  cudaStream_t second = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(Launch(second, dim3{1}, dim3{32}, 0, AddOne, x.data()), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(second), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaStreamDestroy(second), cudaErrorLaunchFailure);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(Add(x.data()), cudaSuccess) << "the first is not lost";
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(x.Read()[0], 1);
}

TEST_F(RuntimeTest, LacksADriver) {
  int count = -1;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  emulation::faults.devices = cudaErrorInsufficientDriver;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  EXPECT_EQ(count, 0);
}

}  // namespace
}  // namespace softsplice::cuda
