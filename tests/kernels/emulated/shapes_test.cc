// How kernels are launched, for shapes at the borders.
#include "kernels/cuda/shapes.h"

#include "gtest/gtest.h"

namespace softsplice::cuda {
namespace {

TEST(Shapes, GiveNormsWholeWarps) {
  for (const int numbers : {1, 128, 256, 512}) EXPECT_EQ(NormThreads(numbers), 32) << numbers;
  for (const int numbers : {513, 2560, 10240}) EXPECT_EQ(NormThreads(numbers), 256) << numbers;
}

TEST(Shapes, CoverAllElementsWithWholeWarps) {
  for (const int cols : {1, 31, 32, 33, 255, 256, 257, 1024, 1025, 2560, 262144}) {
    const ElementShape shape = ElementShapeOf(cols);
    EXPECT_EQ(shape.threads % 32, 0) << cols;
    EXPECT_LE(shape.threads, kMostElementThreads) << cols;
    EXPECT_GE(shape.blocks_per_row * kElementsPerBlock, cols) << cols;
    EXPECT_LT((shape.blocks_per_row - 1) * kElementsPerBlock, cols) << cols;
  }
}

}  // namespace
}  // namespace softsplice::cuda
