// The names of the backends, and the backend that only measures.
#include "kernels/backend_factory.h"

#include "common/status/error.h"
#include "gmock/gmock.h"
#include "kernels/arena.h"
#include "kernels/null_backend.h"
#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(BackendFactoryTest, MakesWhatTheMachineHas) {
  EXPECT_EQ((*MakeBackend({.name = "ref"}))->Name(), "ref");
  EXPECT_EQ((*MakeBackend({.name = "cpu-generic", .threads = 2}))->Name(), "cpu generic 2 threads");
  EXPECT_THAT((*MakeBackend({}))->Name(), StartsWith("cpu " + std::string(IsaName(BestIsa()))));
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    const auto backend = MakeBackend({.name = "cpu-" + std::string(IsaName(isa)), .threads = 1});
    EXPECT_EQ(backend.ok(), Supported(isa)) << backend.status();
  }
}

TEST(BackendFactoryTest, RefusesWhatThereIsNot) {
  const auto unknown = MakeBackend({.name = "cpu-mmx"});
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("cpu-mmx"));
  EXPECT_EQ(GetErrorDetail(unknown.status()).field, "backend");
  EXPECT_EQ(MakeBackend({.threads = -1}).status().code(), absl::StatusCode::kInvalidArgument);
}

// Where there is a driver and a device, it is a backend; else the client is told why not.
TEST(BackendFactoryTest, MakesCudaOrSaysWhyNot) {
  const auto cuda = MakeBackend({.name = "cuda"});
  if (cuda.ok()) {
    EXPECT_THAT((*cuda)->Name(), StartsWith("cuda "));
  } else {
    EXPECT_EQ(cuda.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorDetail(cuda.status()).field, "backend");
  }
  EXPECT_EQ(MakeBackend({.name = "cuda", .device = 1000}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(NullBackendTest, MeasuresAWorkspace) {
  NullBackend null;
  Arena arena(nullptr);
  testing::HostMat numbers(3, 5);
  const Weight w = *null.Pack(testing::FloatTensor(numbers), Use::kLinear);
  EXPECT_EQ(w.rows, 3);
  EXPECT_EQ(w.cols, 5);
  EXPECT_EQ((*null.Pack(testing::FloatTensor(numbers), Use::kVector)).cols, 15);
  const Mat x = arena.New(7, 5);
  null.Matmul(arena.New(7, 3), x, w);
  EXPECT_EQ(arena.Peak(), 512u);
  EXPECT_TRUE(null.Wait().ok());
}

}  // namespace
}  // namespace softsplice
