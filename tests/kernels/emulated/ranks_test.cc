// Devices that share a model out: parts of weights, and sums through the host's memory.
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/device.h"
#include "tests/kernels/emulated/emulation.h"
#include "tests/kernels/test_weight.h"

namespace softsplice {
namespace {

using testing::Device;
using ::testing::HasSubstr;
using testing::HostMat;
using testing::TestWeight;

constexpr absl::Duration kLong = absl::Minutes(10);
using Backends = std::vector<std::unique_ptr<Backend>>;

// Runs the same on all ranks and gives what each says.
std::vector<absl::Status> OnAll(const Backends& ranks,
                                const std::function<absl::Status(size_t, Backend&)>& work) {
  std::vector<absl::Status> results(ranks.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < ranks.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = work(i, *ranks[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

class CudaRanksTest : public ::testing::Test {
 protected:
  ~CudaRanksTest() override { emulation::Restore(); }
};

// Of numbers whose sum depends on the order, round after round.
TEST_F(CudaRanksTest, AddInTheOrderOfRanks) {
  const Backends ranks = *MakeCudaRanks({}, {0, 0, 0}, kLong);
  const int rounds = 10, cols = 33;
  std::mt19937 random(1);
  std::vector<HostMat> numbers;
  for (size_t i = 0; i < ranks.size(); ++i) {
    numbers.push_back(HostMat::Normal(random, rounds, cols));
  }
  const auto results = OnAll(ranks, [&](size_t rank, Backend& backend) {
    Device on(backend);
    const Mat x = on.Copy(numbers[rank]);
    for (int round = 0; round < rounds; ++round) backend.AllReduce(x.Rows(round, 1));
    const HostMat sums = *on.Read(x);
    for (int i = 0; i < rounds * cols; ++i) {
      const auto of = [&](size_t r) { return numbers[r](i / cols, i % cols); };
      EXPECT_EQ(sums(i / cols, i % cols), (of(0) + of(1)) + of(2));
    }
    return absl::OkStatus();
  });
}

TEST_F(CudaRanksTest, OneThatIsAbortedEndsAll) {
  const Backends ranks = *MakeCudaRanks({}, {0, 0}, kLong);
  const auto results = OnAll(ranks, [&](size_t rank, Backend& backend) {
    Device on(backend);
    if (rank == 1) backend.Abort(absl::InternalError("out of luck"));
    backend.AllReduce(on.New(1, 4));
    return backend.Wait();
  });
  for (const absl::Status& status : results) {
    EXPECT_EQ(GetErrorDetail(status).reason, "RANK_FAILED");
    EXPECT_THAT(status.message(), HasSubstr("out of luck"));
  }
  EXPECT_FALSE(ranks[0]->Wait().ok()) << "for good";
}

TEST_F(CudaRanksTest, OneThatDoesNotComeIsNotWaitedForLonger) {
  const Backends ranks = *MakeCudaRanks({}, {0, 0}, absl::Milliseconds(20));
  Device on(*ranks[0]);
  ranks[0]->AllReduce(on.New(1, 4));
  EXPECT_THAT(ranks[0]->Wait().message(), HasSubstr("rank 1 did not come within 20 ms"));
  EXPECT_FALSE(ranks[1]->Wait().ok()) << "it is too late";
}

TEST_F(CudaRanksTest, DifferentSizesAreAnError) {
  const Backends ranks = *MakeCudaRanks({}, {0, 0}, kLong);
  const auto results = OnAll(ranks, [&](size_t rank, Backend& backend) {
    Device on(backend);
    backend.AllReduce(on.New(1, static_cast<int>(rank) + 1));
    return backend.Wait();
  });
  for (const absl::Status& status : results) EXPECT_THAT(status.message(), HasSubstr("sizes"));
}

// Here nothing says where the tests' own is (tests/kernels/emulated/nccl.cc).
TEST_F(CudaRanksTest, NeedNccl) {
  emulation::faults.device_count = 2;
  const absl::Status status = MakeCudaRanks({}, {0, 1}, kLong).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status).reason, "UNFIT_DEVICE");
  EXPECT_THAT(status.message(), HasSubstr("several devices need NCCL, and "));
}

class PartsTest : public ::testing::TestWithParam<gguf::Type> {};

// Halves of the rows give the rows of the whole, halves of the columns its sums: the same bits,
// through the kernel for few rows and that for many.
TEST_P(PartsTest, GiveTheBitsOfTheWhole) {
  const Backends ranks = *MakeCudaRanks({}, {0, 0}, kLong);
  const auto alone = *MakeCudaBackend({});
  std::mt19937 random(1);
  const int outs = 48;
  for (const int cols : {512, 1536}) {
    const TestWeight w(GetParam(), outs, cols, random);
    for (const int rows : {1, 9, 70}) {
      const HostMat x = HostMat::Normal(random, rows, cols);
      const auto multiply = [&](Backend& backend, const Weight& weight, int first_col) {
        HostMat part(rows, weight.cols);
        for (int r = 0; r < rows; ++r) {
          std::memcpy(part[r], x[r] + first_col, static_cast<size_t>(weight.cols) * sizeof(float));
        }
        Device on(backend);
        const Mat y = on.New(rows, weight.rows);
        backend.Matmul(y, on.Copy(part), weight);
        return *on.Read(y);
      };
      const HostMat whole = multiply(*alone, *alone->Pack(w.tensor, Use::kLinear), 0);
      std::vector<HostMat> of_rows, of_columns;
      for (int rank = 0; rank < 2; ++rank) {
        Backend& backend = *ranks[static_cast<size_t>(rank)];
        of_rows.push_back(multiply(backend, *backend.PackPart(w.tensor, gguf::Split::kRows), 0));
        of_columns.push_back(
            multiply(backend, *backend.PackPart(w.tensor, gguf::Split::kColumns), rank * cols / 2));
      }
      for (int r = 0; r < rows; ++r) {
        for (int out = 0; out < outs; ++out) {
          ASSERT_EQ(of_rows[static_cast<size_t>(out / (outs / 2))](r, out % (outs / 2)),
                    whole(r, out));
          ASSERT_EQ(of_columns[0](r, out) + of_columns[1](r, out), whole(r, out))
              << r << " " << out;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Floats, PartsTest, ::testing::ValuesIn(testing::kFloatTypes));
INSTANTIATE_TEST_SUITE_P(Quants, PartsTest, ::testing::ValuesIn(testing::kQuantTypes));

}  // namespace
}  // namespace softsplice
