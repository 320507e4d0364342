// Attention of each row to itself and a few rows before it: per head, y[i] = softmax over j of (cap
// tanh(q[i] (k[j] + relative[i - j]) / cap)) times v[j], all float32. 6 (left + 1) dim FLOPs per
// row and head: bound by loads. Rows of a wide matrix, often a power of two apart, would push each
// other out of the first-level cache, so a head's columns of a few rows are copied together first.
// Every row is worked out by itself: its result does not depend on the others. Compiled once per
// instruction set.
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/families.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

SIMD_INLINE int Padded(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// scores[j] = q (k[j] + r[-j]) for K positions.
template <int K>
SIMD_INLINE void Score(float* scores, const float* q, const float* k, const float* r, int dim) {
  vf sum[K] = {};
  for (int i = 0; i < dim; i += kLanes) {
    const vf query = Load(q + i);
    for (int j = 0; j < K; ++j) {
      sum[j] = Fma(query, Load(k + j * dim + i) + Load(r - j * dim + i), sum[j]);
    }
  }
  if constexpr (K == 1) {
    scores[0] = Sum(sum[0]);
  } else {
    for (int j = 0; j < K; j += 2) StoreSums(scores + j, sum[j], sum[j + 1]);
  }
}

// y = factor * sum of weights[j] * v[j] over n positions, K vectors of columns.
template <int K>
SIMD_INLINE void Weigh(float* y, const float* weights, const float* v, int dim, int n,
                       float factor) {
  vf sum[K] = {};
  for (int j = 0; j < n; ++j) {
    const vf weight = Set(weights[j]);
    for (int i = 0; i < K; ++i) sum[i] = Fma(weight, Load(v + j * dim + i * kLanes), sum[i]);
  }
  for (int i = 0; i < K; ++i) Store(y + i * kLanes, sum[i] * factor);
}

// Up to kLocalAttentionRows rows of one run.
class Tile {
 public:
  static size_t Scratch(const LocalAttentionCall& call) {
    const int rows = 4 * kLocalAttentionRows + 3 * call.left + 1;
    return static_cast<size_t>(rows) * static_cast<size_t>(Padded(call.head_dim)) +
           static_cast<size_t>(kLocalAttentionRows) * static_cast<size_t>(Padded(call.left + 1));
  }

  // The run begins at `begin`.
  Tile(const LocalAttentionCall& call, int begin, int row, int rows, float* scratch)
      : call_(call),
        dim_(Padded(call.head_dim)),
        width_(Padded(call.left + 1)),
        row_(row),
        rows_(rows),
        first_(begin > row - call.left ? begin : row - call.left),
        seen_(row + rows - first_),
        q_(scratch),
        y_(q_ + kLocalAttentionRows * dim_),
        keys_(y_ + kLocalAttentionRows * dim_),
        values_(keys_ + (kLocalAttentionRows + call.left) * dim_),
        relative_(values_ + (kLocalAttentionRows + call.left) * dim_),
        scores_(relative_ + (call.left + 1) * dim_) {}

  void Run(int column) {
    Gather(q_, call_.q, column, row_, rows_);
    Gather(keys_, call_.k, column, first_, seen_);
    Gather(values_, call_.v, column, first_, seen_);
    Gather(relative_, call_.relative, column, 0, seen_ < call_.left + 1 ? seen_ : call_.left + 1);
    // Each step for all rows: what one stores, the next need not wait for.
    for (int i = 0; i < rows_; ++i) ScoreRow(i);
    for (int i = 0; i < rows_; ++i) CapRow(i);
    for (int i = 0; i < rows_; ++i) WeighRow(i);
    for (int i = 0; i < rows_; ++i) {
      __builtin_memcpy(RowOf(call_.y, row_ + i) + column, y_ + i * dim_,
                       static_cast<size_t>(call_.head_dim) * sizeof(float));
    }
  }

 private:
  void Gather(float* to, Mat from, int column, int first, int rows) const {
    const size_t size = static_cast<size_t>(call_.head_dim) * sizeof(float);
    for (int r = 0; r < rows; ++r, to += dim_) {
      const float* row = RowOf(from, first + r) + column;
      // The next head's.
      for (int i = 0; i < call_.head_dim; i += 16) __builtin_prefetch(row + call_.head_dim + i);
      __builtin_memcpy(to, row, size);
      for (int i = call_.head_dim; i < dim_; ++i) to[i] = 0;
    }
  }
  // The gathered row that is the first in sight of row i, and how many are.
  int FirstSeen(int i) const {
    const int first = row_ + i - call_.left - first_;
    return first > 0 ? first : 0;
  }
  int Seen(int i) const { return row_ + i - first_ + 1 - FirstSeen(i); }

  void ScoreRow(int i) {
    const int n = Seen(i);
    const float* keys = keys_ + FirstSeen(i) * dim_;
    const float* relative = relative_ + (n - 1) * dim_;
    float* scores = scores_ + i * width_;
    int j = 0;
    for (; j + 4 <= n; j += 4) {
      Score<4>(scores + j, q_ + i * dim_, keys + j * dim_, relative - j * dim_, dim_);
    }
    for (; j < n; ++j) {
      Score<1>(scores + j, q_ + i * dim_, keys + j * dim_, relative - j * dim_, dim_);
    }
  }
  void CapRow(int i) {
    const int n = Seen(i);
    const int padded = Padded(n);
    float* scores = scores_ + i * width_;
    for (int j = n; j < padded; ++j) scores[j] = 0;
    for (int j = 0; j < padded; j += kLanes) {
      Store(scores + j, call_.cap * Tanh(Load(scores + j) / call_.cap));
    }
    for (int j = n; j < padded; ++j) scores[j] = -__builtin_inff();
    float top = kNothing;
    sum_[i] = 0;
    SoftmaxStep(scores, padded, &top, &sum_[i]);
  }
  void WeighRow(int i) {
    const int n = Seen(i);
    const float* values = values_ + FirstSeen(i) * dim_;
    const float* weights = scores_ + i * width_;
    const float factor = 1.0f / sum_[i];
    float* y = y_ + i * dim_;
    int c = 0;
    for (; c + 8 * kLanes <= dim_; c += 8 * kLanes) {
      Weigh<8>(y + c, weights, values + c, dim_, n, factor);
    }
    for (; c < dim_; c += kLanes) Weigh<1>(y + c, weights, values + c, dim_, n, factor);
  }

  const LocalAttentionCall& call_;
  const int dim_;    // padded
  const int width_;  // of the scores
  const int row_;
  const int rows_;
  const int first_;  // of the rows in sight of any row
  const int seen_;   // how many these are
  float* const q_;
  float* const y_;
  float* const keys_;
  float* const values_;
  float* const relative_;
  float* const scores_;
  float sum_[kLocalAttentionRows];
};

void LocalAttention(const LocalAttentionCall& call, int first, int rows, float* scratch) {
  const int end = first + rows;
  for (int row = first, run = 0; row < end;) {
    run = RunOf(call.starts, run, row);
    const int run_end = IndexOf(call.starts, run + 1);
    const int count = (run_end < end ? run_end : end) - row;
    Tile tile(call, IndexOf(call.starts, run), row, count, scratch);
    for (int column = 0; column < call.q.cols; column += call.head_dim) tile.Run(column);
    row += count;
  }
}

}  // namespace

void FillLocalAttention(CpuOps& ops) {
  ops.local_attention_scratch = Tile::Scratch;
  ops.local_attention = LocalAttention;
}

}  // namespace softsplice::SIMD_NAMESPACE
