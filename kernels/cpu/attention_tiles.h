// The two inner products and the running softmax that both attentions are made of. A tile is up to
// kAttentionTile query rows against one block of positions. For one query row every sum runs in the
// same order whatever the tile's height, so a row's result does not depend on its neighbours.
#pragma once

#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {

// Rows of queries that share a load of a key or a value: as many as the registers hold sums for.
#ifdef __AVX512F__
constexpr int kQueryRows = 12;
#else
constexpr int kQueryRows = 6;
#endif
// Stands for a maximum over nothing: finite, so that differences are never NaN.
constexpr float kNothing = -1e30f;

SIMD_INLINE int PanelsOf(int n) { return (n + kPanel - 1) / kPanel; }

// Where position j's value row begins, for a panel of its columns: packed panels (rows of kPanel),
// or rows anywhere.
struct PackedRows {
  const float* base;
  SIMD_INLINE_MEMBER const float* operator()(int j) const { return base + j * kPanel; }
};
template <class T>
struct ScatteredRows {
  const T* const* rows;
  int column;
  SIMD_INLINE_MEMBER const T* operator()(int j) const { return rows[j] + column; }
};

// out[r] = out[r] * alpha[r] + sum over j in [begin, end) of weights[r][j] * value(j), one panel.
template <class Values>
struct WeighValues {
  float* out;
  int out_pitch;
  const float* alpha;
  const float* weights;
  int weights_pitch;
  Values value;
  int begin;
  int end;

  template <int R>
  SIMD_INLINE_MEMBER void operator()() const {
    vf sum[R][2];
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      sum[r][0] = Load(out + r * out_pitch) * alpha[r];
      sum[r][1] = Load(out + r * out_pitch + kLanes) * alpha[r];
    }
    for (int j = begin; j < end; ++j) {
      const vf v0 = Load(value(j));
      const vf v1 = Load(value(j) + kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
        const vf w = Set(weights[r * weights_pitch + j]);
        sum[r][0] = Fma(w, v0, sum[r][0]);
        sum[r][1] = Fma(w, v1, sum[r][1]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      Store(out + r * out_pitch, sum[r][0]);
      Store(out + r * out_pitch + kLanes, sum[r][1]);
    }
  }
};

// Running softmax: scores[0, n) become weights relative to the new maximum (n is a multiple of
// kLanes). Returns the factor for what was summed before.
SIMD_INLINE float SoftmaxStep(float* scores, int n, float* top, float* sum) {
  vf most = Set(*top);
  for (int j = 0; j < n; j += kLanes) most = Max(most, Load(scores + j));
  const float new_top = MaxLane(most);
  vf total = {};
  for (int j = 0; j < n; j += kLanes) {
    const vf w = Exp(Load(scores + j) - new_top);
    Store(scores + j, w);
    total += w;
  }
  const float alpha = Exp(Set(*top - new_top))[0];
  *sum = *sum * alpha + Sum(total);
  *top = new_top;
  return alpha;
}

}  // namespace softsplice::SIMD_NAMESPACE
