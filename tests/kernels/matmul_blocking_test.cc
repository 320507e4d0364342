// How matmuls are cut into tasks, without running any.
#include <algorithm>

#include "gtest/gtest.h"
#include "kernels/cpu/matmul/blocking.h"

namespace softsplice {
namespace {

MatmulShape Float(int rows, int outs, int depth, int threads) {
  return {.rows = rows,
          .outs = outs,
          .depth = depth,
          .panel = 16,
          .tile_rows = 6,
          .stream_rows = 6,
          .depth_unit = 32,
          .weight_bytes = 2,
          .input_bytes = 4,
          .threads = threads};
}

MatmulShape Nibbles(int rows, int outs, int depth, int threads) {
  return {.rows = rows,
          .outs = outs,
          .depth = depth,
          .panel = 16,
          .tile_rows = 4,
          .stream_rows = 12,
          .depth_unit = 32,
          .weight_bytes = 18.0 / 32,
          .input_bytes = 1.5,
          .threads = threads};
}

TEST(BlockingTest, BlocksAreWholeTilesPanelsAndUnits) {
  for (const int rows : {1, 5, 6, 7, 100, 2520, 10000}) {
    for (const int outs : {1, 16, 100, 768, 10240, 262144}) {
      for (const int depth : {8, 768, 2560, 10240}) {
        for (const int threads : {1, 2, 3, 64}) {
          for (MatmulShape shape :
               {Float(rows, outs, depth, threads), Nibbles(rows, outs, depth, threads)}) {
            shape.depth_unit = depth % 256 == 0 ? 256 : 32;
            const Blocking b = ChooseBlocking(shape);
            SCOPED_TRACE(b.DebugString());
            EXPECT_TRUE(b.row_block == rows || b.row_block % shape.tile_rows == 0);
            EXPECT_TRUE(b.depth_block == depth || b.depth_block % shape.depth_unit == 0);
            EXPECT_EQ(b.out_block % shape.panel, 0);
            ASSERT_GT(std::min({b.row_block, b.out_block, b.depth_block}), 0);
            EXPECT_GT(b.row_block * b.RowTasks(shape), rows - 1);
            EXPECT_LT(b.row_block * (b.RowTasks(shape) - 1), rows);
            EXPECT_LT(b.out_block * (b.OutTasks(shape) - 1), outs);
          }
        }
      }
    }
  }
}

TEST(BlockingTest, OneRowReadsItsWeightsInLongStreams) {
  const MatmulShape shape = Nibbles(1, 10240, 2560, 2);
  const Blocking b = ChooseBlocking(shape);
  EXPECT_EQ(b.depth_block, 2560);
  EXPECT_GE(b.OutTasks(shape), 4);  // a slow thread can be helped
  EXPECT_GE(b.out_block * 2560 * shape.weight_bytes, 128 << 10);
}

TEST(BlockingTest, SmallLayersAreNotSplit) {
  const MatmulShape shape = Nibbles(1, 128, 2560, 2);
  EXPECT_EQ(ChooseBlocking(shape).OutTasks(shape), 1);
}

TEST(BlockingTest, ManyRowsFitTheCachesAndFeedAllThreads) {
  for (const MatmulShape& shape :
       {Float(2520, 768, 768, 2), Float(2520, 3072, 768, 2), Float(2520, 768, 3072, 2),
        Nibbles(512, 10240, 2560, 2), Nibbles(512, 2560, 10240, 2)}) {
    const Blocking b = ChooseBlocking(shape);
    SCOPED_TRACE(b.DebugString());
    EXPECT_LE(b.row_block * b.depth_block * shape.input_bytes, 300 << 10);
    EXPECT_LE(b.depth_block * shape.panel * (shape.input_bytes >= 4 ? 4 : 1), 20 << 10);
    const int tasks = b.RowTasks(shape) * b.OutTasks(shape);
    EXPECT_EQ(tasks % 2, 0);
    EXPECT_GE(tasks, 4);
  }
}

TEST(BlockingTest, FewRowsOnManyThreadsSplitTheOutputs) {
  const MatmulShape shape = Nibbles(64, 10240, 2560, 64);
  const Blocking b = ChooseBlocking(shape);
  EXPECT_GE(b.RowTasks(shape) * b.OutTasks(shape), 32);
}

}  // namespace
}  // namespace softsplice
