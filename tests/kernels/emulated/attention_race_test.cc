// Each kernel of attention on small shapes, for ThreadSanitizer: a barrier that is missing is a
// race. Without it, the same bits whatever the order of the threads.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/cuda/attention_testing.h"
#include "tests/kernels/emulated/emulation.h"

namespace softsplice::cuda {
namespace {

using testing::HostMat;

// With threads in two orders.
template <class Run>
void ExpectSameInEveryOrder(Run run) {
  const HostMat first = run();
  if (emulation::FindsRaces()) return;
  emulation::seed = 2;
  EXPECT_TRUE(run() == first);
  emulation::seed = 1;
}

// Steps over several splits each, in which blocks have more than one thing to do.
class AttentionRaceTest : public ::testing::TestWithParam<AttentionShape> {
 protected:
  void ExpectNone(int sequences, const std::vector<Part>& parts) {
    const AttentionStep step(Sequences(GetParam(), sequences, length_, 1), parts, 1);
    ExpectSameInEveryOrder([&] { return step.Run(*device_); });
  }

  const std::unique_ptr<Backend> device_ = *MakeCudaBackend({});
  const int length_ = GetParam().spec.window == 0 ? 300 : 140;
};

TEST_P(AttentionRaceTest, IsNoneBetweenDecodeRows) {
  ExpectNone(4, {{1, length_ - 1, 1}, {0, length_ - 1, 1}, {3, length_ - 1, 1}, {2, 20, 1}});
}

TEST_P(AttentionRaceTest, IsNoneBetweenPromptRows) {
  ExpectNone(1, {{0, length_ - 40, 1}, {0, length_ - 20, 2}, {0, length_ - 3, 3}});
}

AttentionShape ShapeOf(int heads, int kv_heads, int head_dim, int window,
                       DType type = DType::kF16) {
  return {{.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .window = window}, type};
}

std::string NameOf(const ::testing::TestParamInfo<AttentionShape>& info) {
  const AttentionSpec& spec = info.param.spec;
  return "Head" + std::to_string(spec.head_dim) + "Window" + std::to_string(spec.window);
}

INSTANTIATE_TEST_SUITE_P(All, AttentionRaceTest,
                         ::testing::Values(ShapeOf(4, 1, 512, 0), ShapeOf(4, 2, 64, 0),
                                           ShapeOf(4, 1, 256, 100), ShapeOf(5, 1, 32, 100),
                                           ShapeOf(4, 1, 64, 100),
                                           ShapeOf(2, 1, 20, 100, DType::kF32)),
                         NameOf);

TEST(SelfAttentionRaceTest, IsNone) {
  const std::unique_ptr<Backend> device = *MakeCudaBackend({});
  for (const int dim : {20, 32, 64}) {
    const SelfInputs in(200, 1, dim, 1);
    ExpectSameInEveryOrder([&] { return in.Run(*device, {0, 10, 200}); });
  }
}

}  // namespace
}  // namespace softsplice::cuda
