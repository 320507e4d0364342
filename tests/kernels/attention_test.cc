// Both attentions on every backend against the oracle, and the promise that a row's result does
// not depend, to the bit, on the other rows of the batch or on the threads.
#include <algorithm>
#include <numeric>

#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::Device;
using testing::ExpectNear;
using testing::HostMat;
using testing::kEps;
using testing::RunOn;

struct Shape {
  AttentionSpec spec;
  DType type = DType::kF16;
  int block_rows = 16;
};

// Where the positions of a few sequences lie, and caches as they are before the first step: full
// of NaN, so that reading a position that was never stored shows.
struct Layout {
  // Room for `positions` of each sequence; a window makes its table a ring.
  Layout(const Shape& shape, int sequences, int positions, int most_rows, std::mt19937& random)
      : block_rows(shape.block_rows),
        most_blocks(
            (std::min(positions,
                      shape.spec.window == 0 ? positions : shape.spec.window + most_rows - 1) +
             block_rows - 1) /
            block_rows),
        table(sequences, most_blocks + 1, 0, DType::kI32),
        blocks(HostMat::Ints(std::vector<int>(static_cast<size_t>(sequences), most_blocks))),
        cache(sequences * most_blocks * block_rows, shape.spec.kv_heads * shape.spec.head_dim, 8,
              shape.type) {
    std::vector<int> order(static_cast<size_t>(sequences * most_blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (int s = 0; s < sequences; ++s) {
      std::copy_n(&order[static_cast<size_t>(s * most_blocks)], most_blocks, table.Row<int32_t>(s));
    }
  }

  int block_rows;
  int most_blocks;
  HostMat table;
  HostMat blocks;
  HostMat cache;
};

// The rows of one step.
struct Batch {
  std::vector<int> sequences;
  std::vector<int> positions;
  HostMat q, k, v;
};

// The caches in one backend's memory.
class Caches {
 public:
  Caches(Backend& backend, const Layout& layout, const HostMat& k, const HostMat& v)
      : on_(backend),
        pages_{on_.Copy(layout.table), on_.Copy(layout.blocks), layout.block_rows},
        kv_{on_.Copy(k), on_.Copy(v)} {}
  Caches(Backend& backend, const Layout& layout)
      : Caches(backend, layout, layout.cache, layout.cache) {}

  HostMat keys() { return *on_.Read(kv_.k); }
  HostMat values() { return *on_.Read(kv_.v); }
  void Append(const Batch& batch) {
    Device on(*on_);
    on->KvAppend(kv_, on.Copy(batch.k), on.Copy(batch.v),
                 {on.Ints(batch.sequences), on.Ints(batch.positions)}, pages_);
  }
  // With so many rows at a time.
  HostMat Attend(const Batch& batch, const AttentionSpec& spec, int step) {
    return RunOn(*on_, [&](Device& on) {
      const Mat q = on.Copy(batch.q);
      const Mat y = on.New(q.rows, q.cols, 5);
      const Mat sequences = on.Ints(batch.sequences);
      const Mat positions = on.Ints(batch.positions);
      for (int r = 0; r < q.rows; r += step) {
        on->Attention(y.Rows(r, step), q.Rows(r, step), kv_,
                      {sequences.Rows(r, step), positions.Rows(r, step)}, pages_, spec);
      }
      return y;
    });
  }

 private:
  Device on_;
  KvPages pages_;
  KvLayer kv_;
};

// How many rows each sequence gets in a step.
using StepRows = std::vector<int>;

float LargestNorm(const HostMat& x, int dim) {
  float most = 0;
  for (int r = 0; r < x.rows(); ++r) {
    for (int first = 0; first < x.cols(); first += dim) {
      float sum = 0;
      for (int i = 0; i < dim; ++i) sum += x(r, first + i) * x(r, first + i);
      most = std::max(most, std::sqrt(sum));
    }
  }
  return most;
}

class AttentionTest : public BackendTest {
 protected:
  void RunSteps(const Shape& shape, const std::vector<StepRows>& steps) {
    const size_t sequences = steps[0].size();
    std::vector<int> lengths(sequences, 0);
    int most_rows = 0;
    for (const StepRows& step : steps) {
      for (size_t s = 0; s < sequences; ++s) {
        lengths[s] += step[s];
        most_rows = std::max(most_rows, step[s]);
      }
    }
    const Layout layout(shape, static_cast<int>(sequences),
                        *std::max_element(lengths.begin(), lengths.end()), most_rows, random_);
    Caches want(*ref_, layout);
    Caches got(*backend_, layout);
    std::fill(lengths.begin(), lengths.end(), 0);
    for (const StepRows& step : steps) {
      std::vector<int> ids;
      std::vector<int> positions;
      // Sequences in another order than their numbers.
      for (size_t s = sequences; s-- > 0;) {
        for (int i = 0; i < step[s]; ++i) {
          ids.push_back(static_cast<int>(s));
          positions.push_back(lengths[s]++);
        }
      }
      RunStep(shape.spec, layout, MakeBatch(shape.spec, ids, positions), want, got);
      if (HasFatalFailure()) return;
    }
  }

  Batch MakeBatch(const AttentionSpec& spec, const std::vector<int>& ids,
                  const std::vector<int>& positions) {
    const int rows = static_cast<int>(ids.size());
    const int kv_cols = spec.kv_heads * spec.head_dim;
    // Scores with a deviation of 2: neither flat nor one-hot.
    const float scale = 2 / std::sqrt(static_cast<float>(spec.head_dim));
    return {ids, positions, HostMat::Normal(random_, rows, spec.heads * spec.head_dim, 3, scale),
            HostMat::Normal(random_, rows, kv_cols, 1), HostMat::Normal(random_, rows, kv_cols, 2)};
  }

  void RunStep(const AttentionSpec& spec, const Layout& layout, const Batch& batch, Caches& want,
               Caches& got) {
    want.Append(batch);
    got.Append(batch);
    const HostMat keys = got.keys();
    const HostMat values = got.values();
    ASSERT_TRUE(keys == want.keys() && values == want.values());
    const int rows = batch.q.rows();
    const HostMat together = got.Attend(batch, spec, rows);
    // A score of dim terms is off by sqrt(dim) eps |q| |k| (rounding errors add like a random
    // walk; keys are below 2 sqrt(dim) + 8 long), weights relatively by twice as much; then sums
    // over the positions, of values below 6.
    const float dim = static_cast<float>(spec.head_dim);
    const float score =
        std::sqrt(dim) * LargestNorm(batch.q, spec.head_dim) * (2 * std::sqrt(dim) + 8);
    const float seen = static_cast<float>(batch.positions.back() + 1);
    ExpectNear(together, want.Attend(batch, spec, rows), 0,
               6 * kEps * (2 * score + std::sqrt(seen) + 10), "attention");

    EXPECT_TRUE(together == got.Attend(batch, spec, 1)) << "each row alone";
    const std::unique_ptr<Backend> one = Make(1, true);
    EXPECT_TRUE(together == Caches(*one, layout, keys, values).Attend(batch, spec, rows))
        << "all on one thread";
  }
};

// Prefill chunks and decoding rows of several sequences, past a split of the positions.
const std::vector<StepRows>& MixedSteps() {
  static const auto* const kSteps = new std::vector<StepRows>{
      {5, 70, 0}, {1, 61, 33}, {1, 1, 1}, {100, 1, 64}, {3, 0, 200}, {1, 150, 2}, {2, 1, 1}};
  return *kSteps;
}

TEST_P(AttentionTest, HeadDims) {
  for (const int dim : {16, 32, 64, 128, 256, 512}) {
    for (const DType type : {DType::kF16, DType::kF32}) {
      RunSteps({{.heads = 4, .kv_heads = 2, .head_dim = dim}, type}, MixedSteps());
    }
  }
}

TEST_P(AttentionTest, HeadDimsThatFitNoVector) {
  for (const int dim : {1, 6, 20, 40, 72}) {
    RunSteps({{.heads = 2, .kv_heads = 1, .head_dim = dim}, DType::kF16, 7}, MixedSteps());
  }
}

TEST_P(AttentionTest, Groups) {
  for (const int heads : {1, 3, 8, 16, 48}) {
    RunSteps({{.heads = heads, .kv_heads = 1, .head_dim = 32}}, {{5, 70}, {1, 300}, {1, 1}});
  }
  RunSteps({{.heads = 8, .kv_heads = 8, .head_dim = 32}}, {{5, 70}, {1, 300}, {1, 1}});
}

TEST_P(AttentionTest, WindowsWhoseRingsWrap) {
  for (const int window : {1, 4, 63, 100, 256}) {
    for (const int block_rows : {1, 16, 64, 300}) {
      const Shape shape{
          {.heads = 4, .kv_heads = 2, .head_dim = 32, .window = window}, DType::kF16, block_rows};
      // Chunks of at most 40 rows: a ring of window + 39 wraps several times.
      std::vector<StepRows> steps;
      for (int i = 0; i < 25; ++i) steps.push_back({40, i % 3 == 0 ? 1 : 40 - i});
      RunSteps(shape, steps);
    }
  }
}

TEST_P(AttentionTest, WindowsLikeTheModels) {
  const Shape shape{{.heads = 8, .kv_heads = 2, .head_dim = 256, .window = 512}, DType::kF16, 32};
  RunSteps(shape, {{300, 1}, {300, 1}, {300, 1}, {1, 1}, {1, 100}});
}

// Scores far apart: the running maximum has to be carried over.
TEST_P(AttentionTest, ExtremeScores) {
  const Shape shape{{.heads = 1, .kv_heads = 1, .head_dim = 16}, DType::kF32};
  std::vector<int> positions(600);
  std::iota(positions.begin(), positions.end(), 0);
  Batch batch{std::vector<int>(600, 0), positions, HostMat(600, 16), HostMat(600, 16),
              HostMat(600, 16)};
  for (int r = 0; r < 600; ++r) {
    for (int c = 0; c < 16; ++c) {
      batch.k(r, c) = static_cast<float>(r);
      batch.v(r, c) = static_cast<float>(r) + static_cast<float>(c);
    }
  }
  Caches caches(*backend_, Layout(shape, 1, 600, 600, random_));
  caches.Append(batch);
  for (const float sign : {1.0f, -1.0f}) {
    for (int r = 0; r < 600; ++r) std::fill_n(batch.q[r], 16, sign * 10);
    const HostMat y = caches.Attend(batch, shape.spec, 600);
    // Neighbouring scores differ by 160: only the largest counts.
    for (int r = 0; r < 600; ++r) EXPECT_EQ(y(r, 3), batch.v(sign > 0 ? r : 0, 3)) << r;
  }
}

class SelfAttentionTest : public BackendTest {
 protected:
  void Compare(const std::vector<int>& starts, int heads, int dim) {
    const int rows = starts.back();
    SCOPED_TRACE(std::to_string(rows) + " rows, dim " + std::to_string(dim));
    const int cols = heads * dim;
    const float root = std::sqrt(static_cast<float>(dim));
    const HostMat q = HostMat::Normal(random_, rows, cols, 1, 2 / root);
    const HostMat k = HostMat::Normal(random_, rows, cols, 2);
    const HostMat v = HostMat::Normal(random_, rows, cols, 3);
    // As for Attention.
    const float score = root * LargestNorm(q, dim) * LargestNorm(k, dim);
    CompareRuns(starts, 6 * kEps * (2 * score + std::sqrt(static_cast<float>(rows)) + 10),
                [&](Device& on, int first, int n, Mat at) {
                  const Mat y = on.New(n, cols, 5);
                  on->SelfAttention(y, on.Copy(q.Rows(first, n)), on.Copy(k.Rows(first, n)),
                                    on.Copy(v.Rows(first, n)), at, heads);
                  return y;
                });
  }
};

TEST_P(SelfAttentionTest, HeadDims) {
  for (const int dim : {1, 6, 16, 20, 32, 64, 72, 128}) Compare({0, 100}, 3, dim);
}

TEST_P(SelfAttentionTest, Lengths) {
  for (const int rows : {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 255, 256, 257, 600}) {
    Compare({0, rows}, 2, 16);
  }
}

// A query that is not a number attends to nothing in particular: it must not look like an answer.
TEST_P(SelfAttentionTest, KeepsNaN) {
  HostMat q = HostMat::Normal(random_, 40, 32);
  q(7, 3) = std::numeric_limits<float>::quiet_NaN();
  const HostMat k = HostMat::Normal(random_, 40, 32);
  for (Backend* b : Both()) {
    const HostMat y = RunOn(*b, [&](Device& on) {
      const Mat at = on.New(40, 32);
      const Mat keys = on.Copy(k);
      on->SelfAttention(at, on.Copy(q), keys, keys, on.Ints({0, 40}), 2);
      return at;
    });
    EXPECT_TRUE(std::isnan(y(7, 0))) << b->Name();
    EXPECT_FALSE(std::isnan(y(7, 16)) || std::isnan(y(8, 0))) << b->Name();
  }
}

TEST_P(SelfAttentionTest, Runs) { Compare({0, 90, 91, 400, 401, 520}, 2, 64); }

INSTANTIATE_TEST_SUITE_P(All, AttentionTest, ::testing::ValuesIn(testing::CpuCandidates()),
                         testing::NameOf);
INSTANTIATE_TEST_SUITE_P(All, SelfAttentionTest, ::testing::ValuesIn(testing::CpuCandidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
