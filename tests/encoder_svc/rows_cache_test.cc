// What the cache of rows keeps, in what order it gives up, and what it counts.
#include "encoder_svc/rows_cache.h"

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace softsplice {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kRows = kMiB - RowsCache::kEntryBytes;  // an entry of a MiB

Digest Name(uint8_t name) {
  Digest digest{};
  digest.back() = name;
  return digest;
}

std::shared_ptr<MediumRows> Rows() {
  auto rows = std::make_shared<MediumRows>();
  rows->runs.push_back(std::make_shared<const std::vector<float>>(1));
  return rows;
}

// Four entries of a MiB fill it, each as large as one may be.
class RowsCacheTest : public ::testing::Test {
 protected:
  bool Keep(uint8_t name) { return cache_.Keep(Name(name), Rows(), kRows); }
  bool Has(uint8_t name) { return cache_.Find(Name(name)) != nullptr; }

  RowsCache cache_{4 * kMiB};
};

TEST_F(RowsCacheTest, GivesUpWhatWasNotLookedUpForTheLongestTime) {
  for (const uint8_t name : {1, 2, 3, 4}) EXPECT_TRUE(Keep(name));
  EXPECT_EQ(cache_.bytes(), 4 * kMiB);
  EXPECT_TRUE(Has(1));
  EXPECT_TRUE(Keep(5));
  EXPECT_FALSE(Has(2));
  for (const uint8_t name : {1, 3, 4, 5}) EXPECT_TRUE(Has(name)) << int{name};
  EXPECT_EQ(cache_.bytes(), 4 * kMiB);
}

TEST_F(RowsCacheTest, GivesUpAsManyAsItMust) {
  for (uint8_t name = 1; name <= 8; ++name) {
    EXPECT_TRUE(cache_.Keep(Name(name), Rows(), kMiB / 2 - RowsCache::kEntryBytes));
  }
  EXPECT_TRUE(Keep(9));
  EXPECT_EQ(cache_.bytes(), 4 * kMiB);
  for (const uint8_t name : {1, 2}) EXPECT_FALSE(Has(name)) << int{name};
  for (const uint8_t name : {3, 8, 9}) EXPECT_TRUE(Has(name)) << int{name};
}

TEST_F(RowsCacheTest, TakesNothingThatIsLargerThanItsShare) {
  EXPECT_TRUE(cache_.Takes(kRows));
  EXPECT_FALSE(cache_.Takes(kRows + 1));
  EXPECT_FALSE(cache_.Keep(Name(1), Rows(), kRows + 1));
  EXPECT_EQ(cache_.bytes(), 0u);
  EXPECT_FALSE(RowsCache(0).Takes(0));
  EXPECT_FALSE(RowsCache(100).Takes(1));
}

// By the medium's rows as a whole, or by one run of them.
TEST_F(RowsCacheTest, KeepsWhatIsInUse) {
  for (const uint8_t name : {1, 2, 3, 4}) EXPECT_TRUE(Keep(name));
  auto whole = cache_.Find(Name(1));
  Values run = cache_.Find(Name(2))->runs[0];
  for (const uint8_t name : {3, 4}) EXPECT_TRUE(Has(name));
  EXPECT_TRUE(Keep(5));
  EXPECT_TRUE(Has(1) && Has(2));
  EXPECT_FALSE(Has(3));
  auto fourth = cache_.Find(Name(4)), fifth = cache_.Find(Name(5));
  EXPECT_FALSE(Keep(6)) << "all is in use";
  EXPECT_EQ(cache_.bytes(), 4 * kMiB);
  EXPECT_TRUE(Has(1) && Has(2) && Has(4) && Has(5));
  run = nullptr;
  EXPECT_TRUE(Keep(6));
  EXPECT_FALSE(Has(2));
}

TEST_F(RowsCacheTest, DropsWhatCameToNothing) {
  EXPECT_TRUE(Keep(1));
  cache_.Drop(Name(1));
  cache_.Drop(Name(2));
  EXPECT_FALSE(Has(1));
  EXPECT_EQ(cache_.bytes(), 0u);
}

}  // namespace
}  // namespace softsplice
