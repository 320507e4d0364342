// Attention of each row to itself and a few rows before it: per head, y[i] = softmax over j of (cap
// tanh(q[i] (k[j] + relative[i - j]) / cap)) times v[j], all float32. 6 (left + 1) dim FLOPs per
// row and head on rows that lie in cache: bound by loads. Every row is worked out by itself, so its
// result does not depend on the others. Compiled once per instruction set.
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/ops.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

// q (k + r).
SIMD_INLINE float Score(const float* q, const float* k, const float* r, int dim) {
  vf sum[2] = {};
  int i = 0;
  for (; i + 2 * kLanes <= dim; i += 2 * kLanes) {
    sum[0] = Fma(Load(q + i), Load(k + i) + Load(r + i), sum[0]);
    sum[1] = Fma(Load(q + i + kLanes), Load(k + i + kLanes) + Load(r + i + kLanes), sum[1]);
  }
  for (; i + kLanes <= dim; i += kLanes) {
    sum[0] = Fma(Load(q + i), Load(k + i) + Load(r + i), sum[0]);
  }
  if (i < dim) {
    const int n = dim - i;
    sum[1] = Fma(LoadPart(q + i, n), LoadPart(k + i, n) + LoadPart(r + i, n), sum[1]);
  }
  return Sum(sum[0] + sum[1]);
}

// y = sum of weights[j] * v[j] over n rows, times factor: K vectors of columns.
template <int K>
SIMD_INLINE void WeighColumns(float* y, const float* v, size_t pitch, const float* weights, int n,
                              float factor) {
  vf sum[K] = {};
  for (int j = 0; j < n; ++j) {
    const float* row = v + static_cast<size_t>(j) * pitch;
    for (int i = 0; i < K; ++i) sum[i] = Fma(Set(weights[j]), Load(row + i * kLanes), sum[i]);
  }
  for (int i = 0; i < K; ++i) Store(y + i * kLanes, sum[i] * factor);
}

SIMD_INLINE void WeighRows(float* y, const float* v, size_t pitch, const float* weights, int n,
                           float factor, int dim) {
  int i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
    WeighColumns<4>(y + i, v + i, pitch, weights, n, factor);
  }
  for (; i + kLanes <= dim; i += kLanes) {
    WeighColumns<1>(y + i, v + i, pitch, weights, n, factor);
  }
  if (i == dim) return;
  vf sum = {};
  for (int j = 0; j < n; ++j) {
    sum = Fma(Set(weights[j]), LoadPart(v + static_cast<size_t>(j) * pitch + i, dim - i), sum);
  }
  StorePart(y + i, sum * factor, dim - i);
}

// Row r, which sees the rows from `first` on.
void AttendRow(const LocalAttentionCall& call, int r, int first, float* scores) {
  const int n = r - first + 1;
  for (int column = 0; column < call.q.cols; column += call.head_dim) {
    for (int j = 0; j < n; ++j) {
      scores[j] = Score(RowOf(call.q, r) + column, RowOf(call.k, first + j) + column,
                        RowOf(call.relative, n - 1 - j) + column, call.head_dim);
    }
    int padded = 0;
    for (; padded < n; padded += kLanes) {
      const vf score = Load(scores + padded);
      Store(scores + padded, call.cap * Tanh(score / call.cap));
    }
    for (int j = n; j < padded; ++j) scores[j] = -__builtin_inff();
    float top = kNothing;
    float sum = 0;
    SoftmaxStep(scores, padded, &top, &sum);
    WeighRows(RowOf(call.y, r) + column, RowOf(call.v, first) + column,
              static_cast<size_t>(call.v.pitch), scores, n, 1.0f / sum, call.head_dim);
  }
}

void LocalAttention(const LocalAttentionCall& call, int first, int rows, float* scratch) {
  int run = 0;
  for (int r = first; r < first + rows; ++r) {
    run = RunOf(call.starts, run, r);
    const int begin = IndexOf(call.starts, run);
    AttendRow(call, r, r - call.left > begin ? r - call.left : begin, scratch);
  }
}

}  // namespace

void FillLocalAttention(CpuOps& ops) { ops.local_attention = LocalAttention; }

}  // namespace softsplice::SIMD_NAMESPACE
