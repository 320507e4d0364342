// Every barrier of kernels/cuda is needed, and none is missing: under ThreadSanitizer each kernel
// that has some runs in silence, and is reported when any one of them is taken out.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/attention_testing.h"
#include "tests/kernels/cuda/matmul_testing.h"
#include "tests/kernels/emulated/emulation.h"
#include "tests/kernels/test_weight.h"
#include "tests/kernels/testing.h"

namespace softsplice::cuda {
namespace {

using testing::Device;
using testing::HostMat;

std::mt19937 random{11};

HostMat Normal(int rows, int cols) { return HostMat::Normal(random, rows, cols); }

// Ops that launch a kernel, or several, on a shape for which it needs all of its barriers.
struct Kernel {
  std::string name;
  std::function<void(Device& on)> run;
};

// More than a warp has in its registers.
constexpr int kNorm = 200;

void RunMatmul(testing::Type type, int rows, int outs, int cols, bool warpgroups) {
  const testing::TestWeight w(type, outs, cols, random);
  const Weight packed = PackedOnDevice(w);
  const size_t numbers = static_cast<size_t>(rows) * static_cast<size_t>(cols);
  const DeviceRows x(Normals(numbers, 1), cols, DType::kBF16), y(rows, outs, DType::kF32);
  const DeviceVector<uint16_t> scratch(MatmulScratch(x.mat(), packed, false) + 1);
  const Linear linear{y.mat(), &packed};
  EXPECT_EQ(
      LaunchMatmuls(nullptr, {&linear, 1}, x.mat(), {.warpgroups = warpgroups}, scratch.data()),
      cudaSuccess);
  y.Read();
}

// A block has several items, and a decode row several blocks. Parts of one sequence that are not
// neighbours are more tiles than prompt attention has blocks.
void RunAttention(Device& on, AttentionSpec spec, DType type, bool prompt) {
  const int length = spec.window == 0 ? 300 : 140;
  const std::vector<Part> prompts = {{0, length - 40, 1}, {0, length - 20, 2}, {0, length - 3, 3}};
  const std::vector<Part> one_row_each = {
      {1, 20, 1}, {4, length - 1, 1}, {0, length - 1, 1}, {3, length - 1, 1}};
  const AttentionStep step(Sequences({spec, type}, prompt ? 1 : 5, length, 1),
                           prompt ? prompts : one_row_each, 1);
  step.Run(*on);
}

void RunNormAppend(Device& on, int dims) {
  const KvLayer kv{on.New(8, dims), on.New(8, dims)};
  const RowMap rows{on.Ints({0, 0}), on.Ints({3, 4})};
  const Weight& gain = on.Vector(Normal(1, dims));
  on->NormAppend(kv, on.Copy(Normal(2, dims)), on.Copy(Normal(2, dims)), on.Copy(Normal(2, dims)),
                 gain, gain, 1e-6f, {.head_dim = dims, .count = dims}, rows,
                 {on.Ints({0}), on.Ints({1}), 8});
}

void RunTopLogits(Device& on, int cols) {
  on->TopLogits(on.New(1, 256, 0, DType::kI32), on.New(1, 256), on.New(1, 2),
                on.Copy(Normal(1, cols)));
}

std::vector<Kernel> Kernels() {
  std::vector<Kernel> all = {
      {"RmsNorm",
       [](Device& on) {
         on->RmsNorm(on.New(2, kNorm), on.Copy(Normal(2, kNorm)), nullptr, 1e-6f);
       }},
      {"LayerNorm",
       [](Device& on) {
         on->LayerNorm(on.New(2, kNorm), on.Copy(Normal(2, kNorm)), on.Vector(Normal(1, kNorm)),
                       1e-6f);
       }},
      {"AddNorm",
       [](Device& on) {
         on->AddNorm(on.Copy(Normal(2, kNorm)), on.Copy(Normal(2, kNorm)),
                     on.Vector(Normal(1, kNorm)), 1e-6f);
       }},
      {"AddNormNorm",
       [](Device& on) {
         const Weight& gain = on.Vector(Normal(1, kNorm));
         on->AddNormNorm(on.New(2, kNorm), on.Copy(Normal(2, kNorm)), on.Copy(Normal(2, kNorm)),
                         gain, nullptr, gain, 1e-6f);
       }},
      {"LocalAttention",
       [](Device& on) {
         const Mat q = on.Copy(Normal(9, 32));
         on->LocalAttention(on.New(9, 32), q, q, q, on.Copy(Normal(4, 32)), on.Ints({0, 9}),
                            {.heads = 2, .left = 3, .cap = 50});
       }},
      {"GluConv",
       [](Device& on) {
         on->GluConv(on.New(2, kNorm), on.New(2, kNorm), on.Copy(Normal(2, 2 * kNorm)),
                     on.Vector(Normal(kNorm, 3)), on.Vector(Normal(1, kNorm)), 1e-6f,
                     on.Ints({0, 2}));
       }},
      {"TopLogitsPieceByPiece", [](Device& on) { RunTopLogits(on, 4000); }},
      {"TopLogitsOfSomeLines", [](Device& on) { RunTopLogits(on, 20500); }},
  };
  for (const int dims : {40, 160}) {  // by a warp, by a block; pairs belong to two threads
    all.push_back({absl::StrCat("HeadNormRope", dims), [dims](Device& on) {
                     on->HeadNormRope(on.Copy(Normal(2, 2 * dims)), on.Vector(Normal(1, dims)),
                                      1e-6f, on.Ints({3, 9}), {.head_dim = dims, .count = dims});
                   }});
    all.push_back(
        {absl::StrCat("NormAppend", dims), [dims](Device& on) { RunNormAppend(on, dims); }});
  }
  // Tokens of several tiles, and of many; Q4_K has sums of x.
  for (const auto type : {testing::Type::kBF16, testing::Type::kQ4_K}) {
    for (const int rows : {1, 33, 70}) {
      all.push_back({absl::StrCat("Matmul", testing::Name(type), rows),
                     [type, rows](Device&) { RunMatmul(type, rows, 40, 768, false); }});
    }
    all.push_back({absl::StrCat("WarpgroupMatmul", testing::Name(type)),
                   [type](Device&) { RunMatmul(type, 70, 40, 768, true); }});
  }
  all.push_back({"SelfAttention", [](Device& on) {
                   SelfInputs(200, 1, 64, 1).Run(*on, {0, 10, 200});
                 }});
  for (const bool prompt : {false, true}) {
    const std::string rows = prompt ? "Prompt" : "Decode";
    for (const auto& [dim, window] : {std::pair{64, 0}, {64, 100}}) {
      const AttentionSpec spec{.heads = 4, .kv_heads = 1, .head_dim = dim, .window = window};
      all.push_back({absl::StrCat(rows, "Attention", dim, "Window", window),
                     [=](Device& on) { RunAttention(on, spec, DType::kF16, prompt); }});
    }
  }
  all.push_back({"PlainAttention", [](Device& on) {
                   RunAttention(on, {.heads = 2, .kv_heads = 1, .head_dim = 20, .window = 100},
                                DType::kF32, false);
                 }});
  return all;
}

void Launch(const Kernel& kernel) {
  random.seed(11);
  const std::unique_ptr<Backend> backend = *MakeCudaBackend({});
  Device on(*backend);
  kernel.run(on);
  ASSERT_TRUE(backend->Wait().ok());
}

// The barriers that a kernel has come to.
std::set<emulation::Barrier> BarriersOf(const Kernel& kernel) {
  emulation::barriers.clear();
  Launch(kernel);
  return emulation::barriers;
}

class BarriersTest : public ::testing::TestWithParam<Kernel> {};

TEST_P(BarriersTest, AreAllNeeded) {
  if (!emulation::FindsRaces()) GTEST_SKIP() << "built without ThreadSanitizer";
  for (const emulation::Barrier& barrier : BarriersOf(GetParam())) {
    const auto run_without = [&] {
      emulation::removed = barrier;
      Launch(GetParam());
      std::exit(0);
    };
    // An address that is read too early is none; the emulation says so before the race is seen.
    EXPECT_DEATH(run_without(), "data race|an address is not a multiple of its size")
        << barrier.file << ":" << barrier.line;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, BarriersTest, ::testing::ValuesIn(Kernels()),
                         [](const auto& of) { return of.param.name; });

std::string Named(std::string_view file, size_t line) {
  return absl::StrCat(std::filesystem::path(file).filename().string(), ":", line);
}

// No barrier was added without a kernel above that comes to it.
TEST(Barriers, AreAllTested) {
  if (emulation::FindsRaces()) GTEST_SKIP() << "takes a minute, and other builds tell";
  std::set<std::string> written, met;
  for (const auto& entry : std::filesystem::directory_iterator("kernels/cuda")) {
    std::ifstream file(entry.path());
    std::string line;
    for (size_t number = 1; std::getline(file, line); ++number) {
      if (absl::StrContains(line, "__syncthreads()") || absl::StrContains(line, "__syncwarp()")) {
        written.insert(Named(entry.path().string(), number));
      }
    }
  }
  for (const Kernel& kernel : Kernels()) {
    for (const auto& [file, line] : BarriersOf(kernel)) met.insert(Named(file, line));
  }
  EXPECT_EQ(met, written);
}

}  // namespace
}  // namespace softsplice::cuda
