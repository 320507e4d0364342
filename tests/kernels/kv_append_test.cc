// Where new keys and values go in a paged cache, and in which type.
#include <utility>
#include <vector>

#include "common/gguf/half.h"
#include "tests/kernels/testing.h"

namespace softsplice::testing {
namespace {

constexpr int kCols = 36;
constexpr int kBlockRows = 4;
constexpr int kBlocks = 6;

class KvAppendTest : public BackendTest {
 protected:
  // Two sequences: one in three blocks, one in a ring of two. Rows of the cache that are written.
  const std::vector<int> sequences_ = {0, 0, 1, 1, 1};
  const std::vector<int> positions_ = {7, 8, 11, 12, 13};
  const std::vector<int> written_ = {5 * 4 + 3, 1 * 4 + 0, 4 * 4 + 3, 2 * 4 + 0, 2 * 4 + 1};

  struct Cache {
    KvLayer kv;
    RowMap rows;
    KvPages pages;
  };
  Cache NewCache(Device& on, DType type) const {
    HostMat table(2, 3, 1, DType::kI32);
    const std::vector<int> blocks = {0, 5, 1, 4, 2, 3};
    for (int i = 0; i < 6; ++i) table.Row<int32_t>(i / 3)[i % 3] = blocks[static_cast<size_t>(i)];
    return {{on.New(kBlocks * kBlockRows, kCols, 4, type),
             on.New(kBlocks * kBlockRows, kCols, 4, type)},
            {on.Ints(sequences_), on.Ints(positions_)},
            {on.Copy(table), on.Ints({3, 2}), kBlockRows}};
  }

  void Append(DType type) {
    const HostMat k = HostMat::Normal(random_, 5, kCols, 2);
    const HostMat v = HostMat::Normal(random_, 5, kCols, 3);
    Device on(*backend_);
    const Cache cache = NewCache(on, type);
    on->KvAppend(cache.kv, on.Copy(k), on.Copy(v), cache.rows, cache.pages);
    const HostMat keys = *on.Read(cache.kv.k);
    const HostMat values = *on.Read(cache.kv.v);
    HostMat want_keys(kBlocks * kBlockRows, kCols, 4, type);
    HostMat want_values = want_keys;
    for (int r = 0; r < 5; ++r) {
      Store(k[r], want_keys, written_[static_cast<size_t>(r)], type);
      Store(v[r], want_values, written_[static_cast<size_t>(r)], type);
    }
    EXPECT_TRUE(keys == want_keys);  // and nothing else was written
    EXPECT_TRUE(values == want_values);
  }

  static void Store(const float* from, HostMat& cache, int row, DType type) {
    for (int c = 0; c < kCols; ++c) {
      if (type == DType::kF16) {
        cache.Row<uint16_t>(row)[c] = FloatToHalf(from[c]);
      } else {
        cache(row, c) = from[c];
      }
    }
  }
};

TEST_P(KvAppendTest, WritesRowsOfBothTypes) {
  Append(DType::kF32);
  Append(DType::kF16);
}

TEST_P(KvAppendTest, NormAppendIsItsDefinition) {
  const HostMat q = HostMat::Normal(random_, 5, 2 * kCols, 1),
                k = HostMat::Normal(random_, 5, kCols, 2),
                v = HostMat::Normal(random_, 5, kCols, 3);
  for (const int dims : {12, 36}) {
    const HostMat q_gain = HostMat::Normal(random_, 1, dims),
                  k_gain = HostMat::Normal(random_, 1, dims);
    const RopeSpec rope{.head_dim = dims, .count = dims};
    for (const DType type : {DType::kF32, DType::kF16}) {
      for (const bool want_keys : {true, false}) {
        const auto append = [&](Device& on, bool fused) {
          const auto [kv, rows, pages] = NewCache(on, type);
          const Mat queries = on.Copy(q), keys = on.Copy(k), values = on.Copy(v);
          const Weight &of_q = on.Vector(q_gain), &of_k = on.Vector(k_gain);
          fused ? on->NormAppend(kv, queries, keys, values, of_q, of_k, 1, rope, rows, pages)
                : on->Backend::NormAppend(kv, queries, keys, values, of_q, of_k, 1, rope, rows,
                                          pages);
          return std::pair(queries, want_keys ? kv.k : kv.v);
        };
        const auto run = [&](Backend& b, bool fused) {
          return RunOn(b, [&](Device& on) { return append(on, fused).second; });
        };
        const auto queries = [&](Backend& b, bool fused) {
          return RunOn(b, [&](Device& on) { return append(on, fused).first; });
        };
        EXPECT_TRUE(queries(*backend_, true) == queries(*backend_, false)) << dims << ", queries";
        const HostMat cache = run(*backend_, true);
        EXPECT_TRUE(cache == run(*backend_, true)) << dims << ", again";
        EXPECT_TRUE(cache == run(*backend_, false)) << dims << ", by its definition";
        if (type == DType::kF16) continue;
        // As HeadNormRope's, of the rows that were written.
        const HostMat want = run(*ref_, true);
        const float absolute = 2 * 36 * (11 + std::sqrt(static_cast<float>(dims))) * kEps;
        for (const int row : written_) {
          ExpectNear(cache.Rows(row, 1), want.Rows(row, 1), 0, absolute, std::to_string(dims));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, KvAppendTest, ::testing::ValuesIn(Candidates()), NameOf);

}  // namespace
}  // namespace softsplice::testing
