// What is particular to the CUDA backend: when it reads and writes the host's memory, and how it
// tells errors. What its ops compute is tested with all other backends'.
#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "common/status/error.h"
#include "common/status/reasons.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/emulated/emulation.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

class CudaBackendTest : public ::testing::Test {
 protected:
  ~CudaBackendTest() override { emulation::Restore(); }

  std::unique_ptr<Backend> Make(bool wait_after_ops = false) {
    return *MakeCudaBackend({.wait_after_ops = wait_after_ops});
  }
};

// A matrix of a backend, of zeroes.
struct Owned {
  Owned(Backend& backend, int rows, int cols)
      : memory(*backend.Allocate(static_cast<size_t>(rows) * static_cast<size_t>(cols) * 4)),
        mat{memory.get(), rows, cols, cols, DType::kF32} {}
  std::shared_ptr<void> memory;
  Mat mat;
};

std::vector<float> Read(Backend& backend, Mat mat) {
  std::vector<float> values(static_cast<size_t>(mat.rows) * static_cast<size_t>(mat.cols));
  backend.Download(values.data(), mat);
  EXPECT_EQ(backend.Wait(), absl::OkStatus());
  return values;
}

TEST_F(CudaBackendTest, NamesItsDevice) { EXPECT_EQ(Make()->Name(), "cuda emulation, device 0"); }

TEST_F(CudaBackendTest, AllocatesZeroes) {
  const auto backend = Make();
  const Owned x(*backend, 3, 5);
  EXPECT_EQ(Read(*backend, x.mat), std::vector<float>(15, 0));
  EXPECT_TRUE(backend->Allocate(0).ok());
}

TEST_F(CudaBackendTest, UploadsWhatIsThereAtTheCall) {
  const auto backend = Make();
  const Owned x(*backend, 2, 3);
  std::vector<float> host = {1, 2, 3, 4};
  backend->Upload(x.mat.Cols(1, 2), host.data());
  host.assign(4, 0);
  EXPECT_EQ(Read(*backend, x.mat), (std::vector<float>{0, 1, 2, 0, 3, 4}));
}

// More than the staging memory holds, dense and with a pitch.
TEST_F(CudaBackendTest, UploadsInPieces) {
  const auto backend = Make();
  const int rows = 3, cols = 9 << 20;
  const Owned x(*backend, rows, cols);
  std::vector<float> host(static_cast<size_t>(rows) * static_cast<size_t>(cols));
  for (size_t i = 0; i < host.size(); ++i) host[i] = static_cast<float>(i);
  for (const int width : {cols, cols - 1}) {
    const Mat part = x.mat.Cols(cols - width, width);
    std::vector<float> piece(host.begin(), host.begin() + static_cast<ptrdiff_t>(rows) * width);
    backend->Upload(part, piece.data());
    EXPECT_TRUE(Read(*backend, part) == piece) << width;
  }
}

TEST_F(CudaBackendTest, SaysHowMuchMemoryItNeedsAndHas) {
  const auto backend = Make();
  emulation::faults.memory = 1000;
  const absl::Status status = backend->Allocate(5000).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, reason::kOutOfMemory);
  EXPECT_THAT(status.message(), HasSubstr("5000 bytes are needed, 1000 of 1000 are free"));
  emulation::Restore();
  const Owned x(*backend, 1, 4);
  backend->Relu(x.mat);
  EXPECT_EQ(backend->Wait(), absl::OkStatus());
}

TEST_F(CudaBackendTest, LacksMemoryForAnyPartOfAWeight) {
  std::vector<float> numbers(64, 1);
  const gguf::Tensor tensor{.name = "test",
                            .type = gguf::Type::kF32,
                            .dims = {64},
                            .data = reinterpret_cast<const uint8_t*>(numbers.data()),
                            .bytes = 256};
  for (const Use use : {Use::kVector, Use::kTable}) {
    const auto backend = Make();
    emulation::faults.allocation = 1;
    EXPECT_EQ(backend->Pack(tensor, use).status().code(), absl::StatusCode::kResourceExhausted);
    emulation::faults.allocation = 2;  // the staging memory, which there is once
    EXPECT_FALSE(backend->Pack(tensor, use).ok());
    EXPECT_TRUE(backend->Pack(tensor, use).ok());
  }
}

TEST_F(CudaBackendTest, TellsALostDeviceFromThenOn) {
  const auto backend = Make();
  const Owned x(*backend, 1, 4);
  emulation::faults.launch = 2;
  for (int i = 0; i < 3; ++i) backend->Relu(x.mat);
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = backend->Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(GetErrorDetail(status).reason, reason::kDeviceError);
    EXPECT_THAT(status.message(), HasSubstr("after Relu: unspecified launch failure"));
  }
}

TEST_F(CudaBackendTest, NamesTheOpThatFailedWhereItWaitsForEach) {
  const auto backend = Make(/*wait_after_ops=*/true);
  const Owned x(*backend, 1, 4);
  emulation::faults.launch = 2;
  backend->Relu(x.mat);
  backend->Silu(x.mat);
  backend->Softcap(x.mat, 30);
  EXPECT_THAT(backend->Wait().message(), HasSubstr("Silu: unspecified launch failure"));
}

// An op that no device can run is an error of its own step alone.
TEST_F(CudaBackendTest, TellsARefusedLaunchOnce) {
  const auto backend = Make();
  const Owned x(*backend, 1, 4);
  Mat impossible = x.mat;
  impossible.cols = (65535 << 10) + 1;
  backend->Relu(impossible);
  backend->Silu(x.mat);
  EXPECT_THAT(backend->Wait().message(), HasSubstr("Relu: invalid configuration"));
  backend->Silu(x.mat);
  EXPECT_EQ(backend->Wait(), absl::OkStatus());
}

TEST_F(CudaBackendTest, NeedsADriverAndTheDevice) {
  EXPECT_THAT(MakeCudaBackend({.device = 1}).status().message(), HasSubstr("no device 1"));
  EXPECT_THAT(MakeCudaBackend({.device = -1}).status().message(), HasSubstr("no device -1"));
  emulation::faults.devices = cudaErrorInsufficientDriver;
  const absl::Status status = MakeCudaBackend({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("there is no driver"));
}

TEST_F(CudaBackendTest, ReplaysWhatItRecorded) {
  const auto backend = Make();
  const Owned x(*backend, 2, 3), y(*backend, 2, 3), z(*backend, 2, 3);
  int calls = 0;
  std::vector<float> sum(6, 0);
  for (int step = 1; step <= 5; ++step) {
    const std::vector<float> host(6, static_cast<float>(step));
    backend->Upload(y.mat, host.data());
    backend->Replay(7, [&] {
      ++calls;
      backend->Add(x.mat, y.mat);
      backend->Scale(x.mat, 0.5f);
    });
    backend->Replay(8, [&] { backend->Add(z.mat, y.mat); });
    for (float& value : sum) value = (value + static_cast<float>(step)) * 0.5f;
    EXPECT_EQ(Read(*backend, x.mat), sum) << "step " << step;
  }
  EXPECT_EQ(calls, 2) << "once as it is, once to record it";
  EXPECT_EQ(Read(*backend, z.mat), std::vector<float>(6, 1 + 2 + 3 + 4 + 5));
}

// What was recorded has the addresses of memory that an op in between took anew. A run that takes
// memory itself does not count as the first.
TEST_F(CudaBackendTest, RecordsAgainWhenMemoryHasMoved) {
  const auto backend = Make();
  const Owned logits(*backend, 1, 4), many(*backend, 4, 9000), ids(*backend, 4, 2),
      values(*backend, 4, 2), stats(*backend, 4, 2);
  const auto top = [&](Mat of) {
    Mat tokens = ids.mat.Rows(0, of.rows);
    tokens.type = DType::kI32;
    backend->TopLogits(tokens, values.mat.Rows(0, of.rows), stats.mat.Rows(0, of.rows), of);
  };
  int calls = 0;
  for (int step = 0; step < 8; ++step) {
    if (step == 4) top(many.mat);
    const std::vector<float> host = {0, static_cast<float>(step), -1, 0.5f};
    backend->Upload(logits.mat, host.data());
    backend->Replay(1, [&] {
      ++calls;
      top(logits.mat);
    });
    EXPECT_EQ(Read(*backend, values.mat.Rows(0, 1)),
              (std::vector<float>{std::max(host[1], 0.5f), step == 0 ? 0 : 0.5f}))
        << "step " << step;
  }
  EXPECT_EQ(calls, 3 + 2);
}

TEST_F(CudaBackendTest, KeepsNoRecordOfWhatFailed) {
  const auto backend = Make();
  const Owned logits(*backend, 1, 4), values(*backend, 1, 2), stats(*backend, 1, 2);
  const std::vector<float> host = {0, 3, -1, 0.5f};
  backend->Upload(logits.mat, host.data());
  const Owned room(*backend, 1, 2);
  Mat ids = room.mat;
  ids.type = DType::kI32;
  const auto top = [&] { backend->TopLogits(ids, values.mat, stats.mat, logits.mat); };
  emulation::faults.allocation = 1;
  backend->Replay(1, top);
  EXPECT_EQ(backend->Wait().code(), absl::StatusCode::kResourceExhausted);
  for (int step = 0; step < 3; ++step) {
    backend->Replay(1, top);
    EXPECT_EQ(Read(*backend, values.mat), (std::vector<float>{3, 0.5f}));
  }
}

TEST_F(CudaBackendTest, NeedsADeviceThatRunsAllKernels) {
  const auto refusal = [] {
    const absl::Status status = MakeCudaBackend({}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(GetErrorDetail(status).reason, reason::kUnfitDevice);
    return std::string(status.message());
  };
  emulation::faults.shared = 99 << 10;
  EXPECT_EQ(
      refusal(),
      "device 0 (emulation) has 101376 bytes of shared memory for a block; 166912 are needed");
  emulation::faults.major = 7;
  EXPECT_EQ(refusal(), "device 0 (emulation) has compute capability 7.0; at least 8.0 is needed");
}

}  // namespace
}  // namespace softsplice
