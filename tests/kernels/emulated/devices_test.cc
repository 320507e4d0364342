// Which devices there are, what a model takes of them, and which backend is chosen by that.
#include "kernels/devices.h"

#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/status/error.h"
#include "common/status/reasons.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/choose_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/device_watch.h"
#include "tests/kernels/emulated/cuda_runtime.h"
#include "tests/kernels/emulated/emulation.h"
#include "tests/kernels/test_weight.h"
#include "tests/support/event.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

class DevicesTest : public ::testing::Test {
 protected:
  ~DevicesTest() override { emulation::Restore(); }
};

TEST_F(DevicesTest, AreListed) {
  emulation::faults.device_count = 2;
  const auto devices = Devices();
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_EQ(devices->size(), 2u);
  EXPECT_EQ((*devices)[1].name, "emulation");
  EXPECT_EQ((*devices)[1].total_bytes, emulation::faults.memory);
  EXPECT_EQ((*devices)[1].unfit, "");
  EXPECT_EQ(*FreeBytes(1), emulation::faults.memory);
  EXPECT_EQ(CheckThere({0, 1}, *devices), absl::OkStatus());
  for (const int wrong : {-1, 2}) {
    const absl::Status status = CheckThere({0, wrong}, *devices);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), absl::StrCat("there is no device ", wrong,
                                             "; there are 0 (emulation), 1 (emulation)"));
  }
}

TEST_F(DevicesTest, AreWatched) {
  emulation::faults.device_count = 2;
  const DeviceWatch watch({1}, {.weights = 7});
  ASSERT_EQ(watch.last().size(), 1u);
  EXPECT_EQ(watch.last()[0].index, 1);
  EXPECT_EQ(watch.last()[0].device.name, "emulation");
  EXPECT_EQ(watch.last()[0].footprint.weights, 7u);
  EXPECT_EQ(watch.last()[0].free_bytes, emulation::faults.memory);
  const std::unique_ptr<Backend> backend = *MakeCudaBackend({.device = 1});
  const auto buffer = *backend->Allocate(64 * kMiB);
  while (watch.last()[0].free_bytes > emulation::faults.memory - 64 * kMiB) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(DeviceWatch({}, {}).last().empty());
}

TEST_F(DevicesTest, AreWatchedByNobodyWhoMustNotHang) {
  Event hangs, gate;
  auto watch = std::make_unique<DeviceWatch>(std::vector<int>{0}, Footprint());
  emulation::EnqueueWaiting(nullptr, [&] {
    hangs.Notify();
    gate.WaitForNotification();
    return true;
  });
  std::thread driver([] { cudaStreamSynchronize(nullptr); });
  hangs.WaitForNotification();
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // it has looked meanwhile
  EXPECT_EQ(watch->last().size(), 1u);
  watch = nullptr;
  gate.Notify();
  driver.join();
}

TEST_F(DevicesTest, AreNotThere) {
  emulation::faults.device_count = 0;
  EXPECT_THAT(Devices().status().message(), HasSubstr("no CUDA-capable device"));
  emulation::faults.devices = cudaErrorInsufficientDriver;
  EXPECT_EQ(Devices().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Devices().status().message(), HasSubstr("there is no driver"));
}

// What the counter says of every type and use is what the backend takes.
class PackedWeightsTest : public DevicesTest, public ::testing::WithParamInterface<bool> {};

TEST_P(PackedWeightsTest, TakeWhatIsCounted) {
  std::mt19937 random(1);
  const auto backend = *MakeCudaBackend({.large_tables_on_host = GetParam()});
  const auto counter = *MakeDeviceCounter(false, 1, GetParam());
  uint64_t counted = 0;
  std::vector<Weight> kept;
  const auto check = [&](const gguf::Tensor& tensor, Use use) {
    const uint64_t before = *FreeBytes(0);
    kept.push_back(*backend->Pack(tensor, use));
    kept.push_back(*counter->Pack(tensor, use));
    EXPECT_EQ(before - *FreeBytes(0), counter->footprint().weights - counted)
        << gguf::Info(tensor.type).name << " " << static_cast<int>(use);
    counted = counter->footprint().weights;
  };
  const auto check_type = [&](gguf::Type type) {
    const testing::TestWeight weight(type, 37, 512, random);
    check(weight.tensor, Use::kLinear);
    check(weight.tensor, Use::kTable);
    check(weight.tensor, Use::kLargeTable);
    check(weight.tensor, Use::kVector);
  };
  for (const gguf::Type type : testing::kFloatTypes) check_type(type);
  for (const gguf::Type type : testing::kQuantTypes) check_type(type);
  EXPECT_GT(counted, 0u);
  EXPECT_EQ(backend->Wait(), absl::OkStatus());
  kept.clear();
  EXPECT_EQ(counter->footprint().weights, 0u) << "what is let go counts no longer";
}

INSTANTIATE_TEST_SUITE_P(LargeTablesOnHost, PackedWeightsTest, ::testing::Bool());

TEST_F(DevicesTest, WorkspacesAreCountedWithTheBackendsOperands) {
  for (const bool exact : {false, true}) {
    EXPECT_EQ((*MakeDeviceCounter(exact))->Operands(),
              (*MakeCudaBackend({.exact = exact}))->Operands());
  }
}

TEST_F(DevicesTest, FootprintsAreDescribed) {
  const Footprint need{.weights = 3 * kMiB, .caches = kMiB / 2, .workspace = 100};
  EXPECT_EQ(Describe(need),
            "3.5 MiB (weights 3.0 MiB, keys and values 512.0 KiB, workspace 100 "
            "bytes)");
  EXPECT_EQ(Describe({.weights = 1}), "1 bytes (weights 1 bytes, workspace 0 bytes)");
}

class ChooseBackendTest : public DevicesTest {
 protected:
  absl::StatusOr<Choice> Choose(const std::string& name, const std::vector<int>& devices = {0}) {
    return ChooseBackend({.backend = {.name = name},
                          .devices = devices,
                          .measure = [&](CountingBackend&, absl::string_view) { return need_; },
                          .device_advice = "lower --something",
                          .host_advice = "give it more"});
  }
  absl::StatusOr<Footprint> need_ = Footprint{.weights = 700 * kMiB, .workspace = 300 * kMiB};
};

TEST_F(ChooseBackendTest, AutoIsCudaWhereThereIsRoom) {
  emulation::faults.memory = (1000 + 256) * kMiB;
  const auto choice = Choose("auto");
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->name, "cuda");
  EXPECT_EQ(choice->footprint.Total(), 1000 * kMiB);
  EXPECT_THAT(choice->why, HasSubstr("1000.0 MiB"));
}

TEST_F(ChooseBackendTest, AutoIsCpuWithoutADriverADeviceOrMemory) {
  emulation::faults.memory = (1000 + 256) * kMiB - 1;
  EXPECT_EQ(Choose("auto")->name, "cpu");
  EXPECT_THAT(Choose("auto")->why, HasSubstr("the model needs 1000.0 MiB"));
  emulation::Restore();
  emulation::faults.major = 7;
  EXPECT_EQ(Choose("auto")->name, "cpu");
  EXPECT_THAT(Choose("auto")->why, HasSubstr("compute capability 7.0"));
  emulation::faults.devices = cudaErrorNoDevice;
  EXPECT_EQ(Choose("auto")->name, "cpu");
  EXPECT_THAT(Choose("auto")->why, HasSubstr("no CUDA-capable device"));
}

TEST_F(ChooseBackendTest, CudaSaysWhatIsMissing) {
  emulation::faults.memory = 1000 * kMiB;
  const absl::Status status = Choose("cuda").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, reason::kOutOfMemory);
  EXPECT_EQ(status.message(),
            "the model needs 1000.0 MiB (weights 700.0 MiB, workspace 300.0 MiB) and 256.0 MiB to "
            "spare; device 0 (emulation) has 1000.0 MiB free of 1000.0 MiB: lower --something");
  emulation::faults.devices = cudaErrorInsufficientDriver;
  EXPECT_EQ(Choose("cuda").status().code(), absl::StatusCode::kInvalidArgument);
}

// Whoever names a device that is not there means another one.
TEST_F(ChooseBackendTest, AWrongIndexIsAnError) {
  for (const char* name : {"auto", "cuda"}) {
    const absl::Status status = Choose(name, {0, 1}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), HasSubstr("no device 1; there are 0 (emulation)"));
  }
}

TEST_F(ChooseBackendTest, EveryDeviceNeedsTheRoom) {
  emulation::faults.device_count = 2;
  emulation::faults.memory = 1500 * kMiB;
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  void* taken = nullptr;
  ASSERT_EQ(cudaMalloc(&taken, 400 * kMiB), cudaSuccess);
  EXPECT_TRUE(Choose("cuda", {0}).ok());
  EXPECT_THAT(Choose("cuda", {0, 1}).status().message(), HasSubstr("device 1 (emulation) has"));
  EXPECT_EQ(cudaFree(taken), cudaSuccess);
  EXPECT_TRUE(Choose("cuda", {0, 1}).ok());
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
}

// A file that is no good is no good on the processor either; other backends are not looked into.
TEST_F(ChooseBackendTest, TellsTheModelsErrors) {
  need_ = absl::FailedPreconditionError("not such a model");
  EXPECT_EQ(Choose("auto").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Choose("ref")->name, "ref");
}

}  // namespace
}  // namespace softsplice
