// How attention is launched: enough of everything, for the shapes at the borders.
#include "kernels/cuda/attention_shapes.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace softsplice::cuda {
namespace {

constexpr int kBlockRows = 128;

// A step of E4B's: `rows` of up to `sequences` sequences of up to `blocks` blocks.
AttentionCall CallOf(int rows, int sequences, int blocks, int window) {
  const int dim = window == 0 ? 512 : 256;
  const Mat cache{nullptr, blocks * kBlockRows, 2 * dim, 2 * dim, DType::kF16};
  return {.q = {nullptr, rows, 8 * dim, 8 * dim, DType::kF32},
          .kv = {cache, cache},
          .pages = {{nullptr, sequences, blocks, blocks, DType::kI32}, {}, kBlockRows},
          .spec = {.heads = 8, .kv_heads = 2, .head_dim = dim, .window = window}};
}

int SplitsSeen(int position, int window) {
  const int split = window == 0 ? kFullSplit : kSlidingSplit;
  const int first = window == 0 ? 0 : std::max(0, position - window + 1);
  return position / split - first / split + 1;
}

TEST(AttentionShapes, HaveRoomForEachSplitOfDecodeRows) {
  for (const int window : {0, 1, 2, 63, 64, 65, 66, 67, 127, 128, 129, 130, 512}) {
    int most = 0;
    for (int position = 0; position < 8 * kBlockRows; ++position) {
      most = std::max(most, SplitsSeen(position, window));
    }
    // One row, or more than there are sequences.
    EXPECT_EQ(MostDecodeItems(CallOf(1, 1, 8, window)), 2 * most) << window;
    EXPECT_EQ(MostDecodeItems(CallOf(9, 5, 8, window)), 5 * 2 * most) << window;
  }
}

TEST(AttentionShapes, HaveABlockForEachTileOfPrompts) {
  const int tile = kPromptQueries / 4;
  for (const int runs : {1, 2, 5}) {
    for (const int rows : {2, 3, 15, 16, 17, 18, 31, 33, 64, 500}) {
      for (int offset = 0; offset < tile; ++offset) {
        const int tiles = (offset + rows - 1) / tile + 1;  // of each run
        EXPECT_LE(runs * tiles, PromptBlocks(CallOf(runs * rows, runs, 8, 0)))
            << runs << " of " << rows << " from " << offset;
      }
    }
  }
}

TEST(AttentionShapes, FillTheDeviceAndNoMore) {
  EXPECT_EQ(DecodeBlocks(CallOf(1, 1, 64, 512), 132), 2 * 9);
  EXPECT_EQ(DecodeBlocks(CallOf(1, 1, 128, 0), 132), 2 * 64);
  EXPECT_EQ(DecodeBlocks(CallOf(128, 128, 64, 512), 132), 3 * 132);
  EXPECT_EQ(DecodeBlocks(CallOf(128, 128, 64, 0), 132), 2 * 132);
}

TEST(AttentionShapes, NeedScratchForDecodeRowsOfTensorCores) {
  AttentionCall call = CallOf(3, 3, 64, 0);
  const AttentionScratchSize size = ScratchFor(call);
  EXPECT_EQ(size.partials, size_t{3} * 32 * 8 * (512 + kPartialStats));
  EXPECT_EQ(size.counters, size_t{3} * 2);
  call.kv.k.type = call.kv.v.type = DType::kF32;
  EXPECT_EQ(ScratchFor(call).partials, size_t{0});
  EXPECT_EQ(ScratchFor(call).counters, size_t{0});
}

TEST(AttentionShapes, ChooseTensorCoresForTheModels) {
  const auto has = [](int heads, int dim, int window) {
    AttentionCall call = CallOf(1, 1, 8, window);
    call.spec = {.heads = heads, .kv_heads = 1, .head_dim = dim, .window = window};
    return OnTensorCores(call);
  };
  EXPECT_TRUE(has(4, 256, 512) && has(8, 512, 0) && has(5, 32, 24) && has(4, 64, 32));
  EXPECT_FALSE(has(9, 512, 0));  // more heads than columns
  EXPECT_FALSE(has(4, 128, 0) || has(4, 512, 512));
  AttentionCall call = CallOf(1, 1, 8, 0);
  call.kv.v.pitch += 4;  // rows that start between 16 bytes
  EXPECT_FALSE(OnTensorCores(call));
}

TEST(AttentionShapes, CoverEachQueryOfSelfAttention) {
  const auto tiles = [](const std::vector<int>& runs) {
    int rows = 0;
    for (const int run : runs) rows += run;
    return MostSelfTiles({.q = {nullptr, rows, 64, 64, DType::kF32},
                          .starts = {nullptr, static_cast<int>(runs.size()) + 1, 1, 1}});
  };
  EXPECT_GE(tiles({1}), 1);
  EXPECT_GE(tiles({kSelfQueries}), 1);
  EXPECT_GE(tiles({kSelfQueries + 1}), 2);
  EXPECT_GE(tiles({1, kSelfQueries + 1, 1}), 4);
  EXPECT_GE(tiles({10080}), 79);
}

}  // namespace
}  // namespace softsplice::cuda
