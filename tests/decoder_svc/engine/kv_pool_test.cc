// Who owns which blocks of the caches.
#include "decoder_svc/engine/kv_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace softsplice {
namespace {

TEST(KvPoolTest, RingHoldsTheWindowAndAChunk) {
  for (int window : {1, 24, 512}) {
    for (int chunk : {1, 7, 512}) {
      const auto shape = KvPool::ShapeFor(2, 100000, window, chunk);
      EXPECT_GE(shape.ring_blocks * shape.block_rows, window + chunk - 1);
      EXPECT_LT((shape.ring_blocks - 1) * shape.block_rows, window + chunk - 1);
    }
  }
  const auto small = KvPool::ShapeFor(1, 100, 512, 512);  // never more than the context
  EXPECT_EQ(small.ring_blocks, small.blocks_per_slot);
}

TEST(KvPoolTest, BlocksHaveOneOwner) {
  KvPool pool(
      {.block_rows = 10, .slots = 3, .full_blocks = 6, .blocks_per_slot = 4, .ring_blocks = 2});
  const auto a = pool.Reserve(21), b = pool.Reserve(30);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(pool.FullBlocks(*a).size(), 3u);
  EXPECT_EQ(pool.FullBlocks(*b).size(), 3u);
  std::set<int32_t> full, ring;
  for (int slot : {*a, *b}) {
    full.insert(pool.FullBlocks(slot).begin(), pool.FullBlocks(slot).end());
    ring.insert(pool.RingBlocks(slot).begin(), pool.RingBlocks(slot).end());
  }
  EXPECT_EQ(full.size(), 6u);
  EXPECT_LT(*full.rbegin(), 6);
  EXPECT_EQ(ring.size(), 4u);
  EXPECT_EQ(pool.Reserve(1), std::nullopt) << "no block left";
  pool.Release(*a);
  EXPECT_EQ(pool.full_blocks_used(), 3);
  EXPECT_EQ(pool.slots_used(), 1);
  EXPECT_EQ(pool.Reserve(31), std::nullopt) << "three blocks left, four needed";
  EXPECT_TRUE(pool.Reserve(30));
}

TEST(KvPoolTest, SlotsRunOut) {
  KvPool pool(
      {.block_rows = 10, .slots = 1, .full_blocks = 6, .blocks_per_slot = 6, .ring_blocks = 1});
  const auto slot = pool.Reserve(5);
  ASSERT_TRUE(slot);
  EXPECT_EQ(pool.Reserve(5), std::nullopt);
  pool.Release(*slot);
  EXPECT_EQ(pool.Reserve(60), slot);
}

}  // namespace
}  // namespace softsplice
