// How kernels are launched, for shapes at the borders.
#include "kernels/cuda/shapes.h"

#include "gtest/gtest.h"

namespace softsplice::cuda {
namespace {

TEST(Shapes, GiveNormsThreadsForAllNumbers) {
  for (const int numbers : {1, 128, 129, 256, 512, 1024, 1025, 2560, 4097, 8192}) {
    const int threads = NormThreads(numbers);
    EXPECT_EQ(threads % 32, 0) << numbers;
    EXPECT_GE(threads * kNormNumbers, numbers);
  }
  EXPECT_EQ(NormThreads(8193), 0);
}

TEST(Shapes, CoverAllElementsWithWholeWarps) {
  for (const int cols : {1, 31, 32, 33, 255, 256, 257, 1024, 1025, 2560, 262144}) {
    const ElementShape shape = ElementShapeOf(cols);
    EXPECT_EQ(shape.threads % 32, 0) << cols;
    EXPECT_LE(shape.threads, kMostElementThreads) << cols;
    EXPECT_GE(shape.threads, shape.rows_of_block * shape.threads_of_row) << cols;
    EXPECT_LT(shape.threads - 32, shape.rows_of_block * shape.threads_of_row) << cols;
    EXPECT_EQ(shape.rows_of_block > 1, 2 * cols <= kMostElementThreads) << "short rows: " << cols;
    EXPECT_GE(shape.blocks_per_row * kElementsPerBlock, cols) << cols;
    EXPECT_LT((shape.blocks_per_row - 1) * kElementsPerBlock, cols) << cols;
  }
}

TEST(Shapes, CoverAllRowsAndStripsOfAProduct) {
  for (const int rows : {1, 8, 9, 32, 33, 64, 65, 96, 128, 129, 2048}) {
    for (const int strips : {1, 2, 3, 160, 16384}) {
      for (const bool gated : {false, true}) {
        for (const bool exact : {false, true}) {
          const MatmulShape shape = MatmulShapeOf(rows, strips, {.gated = gated, .exact = exact});
          EXPECT_EQ(shape.decode, rows <= MostDecoded(exact));
          const int of_block = shape.token_tiles * 8 * (shape.decode ? 1 : 4);
          EXPECT_EQ(shape.blocks_x, (rows + of_block - 1) / of_block);
          const int strips_of_block = shape.strips * (shape.decode ? 1 : 2);
          const int all = (strips * (gated ? 2 : 1) + strips_of_block - 1) / strips_of_block;
          if (shape.decode && all > shape.blocks_y) {  // in turn, by blocks that are there at once
            EXPECT_GT(shape.blocks_x * (shape.blocks_y + 1), 2 * 132);
          } else {
            EXPECT_EQ(shape.blocks_y, all);
          }
        }
      }
    }
  }
  EXPECT_FALSE(MatmulShapeOf(1, 160, {.can_decode = false}).decode);
}

TEST(Shapes, GiveWarpsFewStripsRatherThanMultiprocessorsNothing) {
  const MatmulKind kind{.many_strips = true};
  EXPECT_EQ(MatmulShapeOf(2048, 640, kind).strips, kManyStrips);
  EXPECT_EQ(MatmulShapeOf(128, 160, kind).strips, kFewStrips);
  EXPECT_EQ(MatmulShapeOf(2048, 640, {}).strips, kFewStrips);
}

TEST(Shapes, GiveWarpgroupsFewTokensWhereAllBlocksThenRunAtOnce) {
  const auto shape = [](int rows, int strips, MatmulKind kind) {
    kind.warpgroups = true;
    return MatmulShapeOf(rows, strips, kind);
  };
  for (const bool gated : {false, true}) {
    const MatmulShape many = shape(2048, 640, {.gated = gated});
    EXPECT_TRUE(many.warpgroups);
    EXPECT_EQ(many.token_tiles, kManyWarpgroupTiles);
    EXPECT_EQ(many.blocks_x, 2048 / 128);
    EXPECT_EQ(many.blocks_y, (gated ? 2 : 1) * 640 / kWarpgroupStrips);
  }
  const MatmulShape few = shape(750, 64, {});
  EXPECT_EQ(few.token_tiles, kFewWarpgroupTiles);
  EXPECT_EQ(few.blocks_x, 12);
  EXPECT_EQ(shape(2048, 640, {.many_tokens = false}).token_tiles, kFewWarpgroupTiles);
  EXPECT_FALSE(shape(2048, 640, {.exact = true}).warpgroups);
  EXPECT_TRUE(shape(64, 640, {}).decode);
}

}  // namespace
}  // namespace softsplice::cuda
