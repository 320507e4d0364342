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

TEST(Shapes, CoverAllRowsAndStripsOfAProduct) {
  for (const int rows : {1, 8, 9, 32, 33, 64, 65, 96, 97, 2048}) {
    for (const int strips : {1, 2, 3, 160, 16384}) {
      for (const bool gated : {false, true}) {
        for (const bool exact : {false, true}) {
          const MatmulShape shape = MatmulShapeOf(rows, strips, gated, exact, true);
          EXPECT_EQ(shape.decode, rows <= kMostDecoded);
          const int of_block = shape.token_tiles * 8 * (shape.decode ? 1 : 2);
          EXPECT_EQ(shape.blocks_x, (rows + of_block - 1) / of_block);
          // A gated product has one strip of each weight for two of a plain one.
          const int strips_of_block = (gated ? 1 : shape.strips) * (shape.decode ? 1 : 4);
          EXPECT_EQ(shape.blocks_y, (strips + strips_of_block - 1) / strips_of_block);
        }
      }
    }
  }
  EXPECT_FALSE(MatmulShapeOf(1, 160, false, false, false).decode);
}

}  // namespace
}  // namespace softsplice::cuda
