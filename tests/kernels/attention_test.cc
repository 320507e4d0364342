// Both attentions on every backend against the oracle, and the promise that a row's result does
// not depend, to the bit, on the other rows of the batch or on the threads.
#include <algorithm>
#include <numeric>

#include "tests/kernels/testing.h"

namespace softsplice {
namespace {

using testing::BackendTest;
using testing::ExpectNear;
using testing::HostMat;
using testing::kEps;

struct Shape {
  AttentionSpec spec;
  DType type = DType::kF16;
  int block_rows = 16;
};

// Caches and tables of a few sequences that grow step by step, beside the oracle's caches.
class Caches {
 public:
  // Room for `positions` of each sequence; a window makes its table a ring.
  Caches(const Shape& shape, int sequences, int positions, int most_rows, std::mt19937& random)
      : shape_(shape),
        blocks_((std::min(positions,
                          shape.spec.window == 0 ? positions : shape.spec.window + most_rows - 1) +
                 shape.block_rows - 1) /
                shape.block_rows),
        table_(sequences, blocks_ + 1, 0, DType::kI32),
        counts_(HostMat::Ints(std::vector<int>(static_cast<size_t>(sequences), blocks_))),
        k_(Cache(sequences)),
        v_(Cache(sequences)),
        ref_k_(k_),
        ref_v_(v_) {
    std::vector<int> order(static_cast<size_t>(sequences * blocks_));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (int s = 0; s < sequences; ++s) {
      for (int b = 0; b < blocks_; ++b) {
        table_.view().Row<int32_t>(s)[b] = order[static_cast<size_t>(s * blocks_ + b)];
      }
    }
  }

  KvPages pages() { return {table_.view(), counts_.view(), shape_.block_rows}; }
  KvLayer layer() { return {k_.view(), v_.view()}; }
  KvLayer ref_layer() { return {ref_k_.view(), ref_v_.view()}; }
  bool Same() const { return k_.bytes() == ref_k_.bytes() && v_.bytes() == ref_v_.bytes(); }

 private:
  // Full of NaN: reading a position that was never stored shows.
  HostMat Cache(int sequences) const {
    return HostMat(sequences * blocks_ * shape_.block_rows,
                   shape_.spec.kv_heads * shape_.spec.head_dim, 8, shape_.type);
  }

  Shape shape_;
  int blocks_;
  HostMat table_;
  HostMat counts_;
  HostMat k_;
  HostMat v_;
  HostMat ref_k_;
  HostMat ref_v_;
};

// How many rows each sequence gets in a step.
using StepRows = std::vector<int>;

float LargestNorm(HostMat& x, int dim) {
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
    Caches caches(shape, static_cast<int>(sequences),
                  *std::max_element(lengths.begin(), lengths.end()), most_rows, random_);
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
      RunStep(shape, caches, ids, positions);
      if (HasFatalFailure()) return;
    }
  }

  void RunStep(const Shape& shape, Caches& caches, const std::vector<int>& ids,
               const std::vector<int>& positions) {
    const AttentionSpec& spec = shape.spec;
    const int rows = static_cast<int>(ids.size());
    const int kv_cols = spec.kv_heads * spec.head_dim;
    HostMat k = HostMat::Normal(random_, rows, kv_cols, 1);
    HostMat v = HostMat::Normal(random_, rows, kv_cols, 2);
    // Scores with a deviation of 2: neither flat nor one-hot.
    HostMat q = HostMat::Normal(random_, rows, spec.heads * spec.head_dim, 3,
                                2 / std::sqrt(static_cast<float>(spec.head_dim)));
    HostMat sequences = HostMat::Ints(ids);
    HostMat at = HostMat::Ints(positions);
    const RowMap map{sequences.view(), at.view()};
    ref_->KvAppend(caches.ref_layer(), k.view(), v.view(), map, caches.pages());
    cpu_->KvAppend(caches.layer(), k.view(), v.view(), map, caches.pages());
    ASSERT_TRUE(caches.Same());

    HostMat want(rows, q.cols(), 5);
    HostMat got(rows, q.cols(), 5);
    ref_->Attention(want.view(), q.view(), caches.ref_layer(), map, caches.pages(), spec);
    cpu_->Attention(got.view(), q.view(), caches.layer(), map, caches.pages(), spec);
    ASSERT_TRUE(cpu_->Wait().ok());
    // A score of dim terms is off by sqrt(dim) eps |q| |k| (rounding errors add like a random
    // walk; keys are below 2 sqrt(dim) + 8 long), weights relatively by twice as much; then sums
    // over the positions, of values below 6.
    const float dim = static_cast<float>(spec.head_dim);
    const float score = std::sqrt(dim) * LargestNorm(q, spec.head_dim) * (2 * std::sqrt(dim) + 8);
    const float seen = static_cast<float>(positions.back() + 1);
    ExpectNear(got, want, 0, 6 * kEps * (2 * score + std::sqrt(seen) + 10), "attention");
    Invariance(spec, caches, q, map, got);
  }

  // Each row alone, and all on one thread.
  void Invariance(const AttentionSpec& spec, Caches& caches, HostMat& q, const RowMap& map,
                  HostMat& got) {
    HostMat alone(q.rows(), q.cols(), 5);
    HostMat one_thread(q.rows(), q.cols(), 5);
    for (int r = 0; r < q.rows(); ++r) {
      cpu_->Attention(alone.view().Rows(r, 1), q.view().Rows(r, 1), caches.layer(),
                      {map.sequences.Rows(r, 1), map.positions.Rows(r, 1)}, caches.pages(), spec);
    }
    EXPECT_EQ(alone.bytes(), got.bytes());
    GetParam().make(1)->Attention(one_thread.view(), q.view(), caches.layer(), map, caches.pages(),
                                  spec);
    EXPECT_EQ(one_thread.bytes(), got.bytes());
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
  Caches caches(shape, 1, 600, 600, random_);
  HostMat k(600, 16);
  HostMat v(600, 16);
  std::vector<int> positions(600);
  std::iota(positions.begin(), positions.end(), 0);
  for (int r = 0; r < 600; ++r) {
    for (int c = 0; c < 16; ++c) {
      k(r, c) = static_cast<float>(r);
      v(r, c) = static_cast<float>(r) + static_cast<float>(c);
    }
  }
  HostMat ids = HostMat::Ints(std::vector<int>(600, 0));
  HostMat at = HostMat::Ints(positions);
  const RowMap map{ids.view(), at.view()};
  cpu_->KvAppend(caches.layer(), k.view(), v.view(), map, caches.pages());
  for (const float sign : {1.0f, -1.0f}) {
    HostMat q(600, 16);
    for (int r = 0; r < 600; ++r) {
      for (int c = 0; c < 16; ++c) q(r, c) = sign * 10;
    }
    HostMat y(600, 16);
    cpu_->Attention(y.view(), q.view(), caches.layer(), map, caches.pages(), shape.spec);
    // Neighbouring scores differ by 160: only the largest counts.
    for (int r = 0; r < 600; ++r) EXPECT_EQ(y(r, 3), sign > 0 ? v(r, 3) : v(0, 3)) << r;
  }
}

class SelfAttentionTest : public BackendTest {
 protected:
  void Compare(const std::vector<int>& starts, int heads, int dim) {
    const int rows = starts.back();
    HostMat q =
        HostMat::Normal(random_, rows, heads * dim, 1, 2 / std::sqrt(static_cast<float>(dim)));
    HostMat k = HostMat::Normal(random_, rows, heads * dim, 2);
    HostMat v = HostMat::Normal(random_, rows, heads * dim, 3);
    HostMat runs = HostMat::Ints(starts);
    HostMat want(rows, heads * dim, 5);
    HostMat got(rows, heads * dim, 5);
    ref_->SelfAttention(want.view(), q.view(), k.view(), v.view(), runs.view(), heads);
    cpu_->SelfAttention(got.view(), q.view(), k.view(), v.view(), runs.view(), heads);
    ASSERT_TRUE(cpu_->Wait().ok());
    // As for Attention.
    const float score =
        std::sqrt(static_cast<float>(dim)) * LargestNorm(q, dim) * LargestNorm(k, dim);
    ExpectNear(got, want, 0, 6 * kEps * (2 * score + std::sqrt(static_cast<float>(rows)) + 10),
               std::to_string(rows) + " rows, dim " + std::to_string(dim));
    // Each run alone, on one thread.
    HostMat alone(rows, heads * dim, 5);
    const std::unique_ptr<Backend> one = GetParam().make(1);
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      const int n = starts[i + 1] - starts[i];
      HostMat run = HostMat::Ints({0, n});
      one->SelfAttention(alone.view().Rows(starts[i], n), q.view().Rows(starts[i], n),
                         k.view().Rows(starts[i], n), v.view().Rows(starts[i], n), run.view(),
                         heads);
    }
    EXPECT_EQ(alone.bytes(), got.bytes());
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
  for (Backend* b : {ref_.get(), cpu_.get()}) {
    HostMat q = HostMat::Normal(random_, 40, 32);
    HostMat k = HostMat::Normal(random_, 40, 32);
    HostMat y(40, 32);
    HostMat runs = HostMat::Ints({0, 40});
    q(7, 3) = std::numeric_limits<float>::quiet_NaN();
    b->SelfAttention(y.view(), q.view(), k.view(), k.view(), runs.view(), 2);
    EXPECT_TRUE(std::isnan(y(7, 0))) << b->Name();
    EXPECT_FALSE(std::isnan(y(7, 16)) || std::isnan(y(8, 0))) << b->Name();
  }
}

TEST_P(SelfAttentionTest, Runs) { Compare({0, 90, 91, 400, 401, 520}, 2, 64); }

INSTANTIATE_TEST_SUITE_P(All, AttentionTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);
INSTANTIATE_TEST_SUITE_P(All, SelfAttentionTest, ::testing::ValuesIn(testing::Candidates()),
                         testing::NameOf);

}  // namespace
}  // namespace softsplice
