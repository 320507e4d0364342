// y = x / sqrt(mean(x^2) + eps) * gain over groups of columns, and y = (x - mean) / sqrt(variance +
// eps) * gain over rows; x [rows, cols] float32, read from memory once (and again from cache),
// written once. Compiled once per instruction set.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

// Four running sums hide the latency of the additions.
SIMD_INLINE float SumOfSquares(const float* x, int n) {
  vf sum[4] = {};
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const vf v = Load(x + i + k * kLanes);
      sum[k] = Fma(v, v, sum[k]);
    }
  }
  for (; i + kLanes <= n; i += kLanes) {
    const vf v = Load(x + i);
    sum[0] = Fma(v, v, sum[0]);
  }
  if (i < n) {
    const vf v = LoadPart(x + i, n - i);
    sum[1] = Fma(v, v, sum[1]);
  }
  return Sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

SIMD_INLINE float Factor(const float* x, int n, float eps) {
  return 1.0f / __builtin_sqrtf(SumOfSquares(x, n) / static_cast<float>(n) + eps);
}

void NormRow(float* y, const float* x, const float* gain, float eps, int n) {
  const float factor = Factor(x, n, eps);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf v = Load(x + i) * factor;
    Store(y + i, gain == nullptr ? v : v * Load(gain + i));
  }
  if (i == n) return;
  const vf v = LoadPart(x + i, n - i) * factor;
  StorePart(y + i, gain == nullptr ? v : v * LoadPart(gain + i, n - i), n - i);
}

void RmsNorm(Mat y, Mat x, const float* gain, float eps, int group) {
  for (int r = 0; r < x.rows; ++r) {
    for (int c = 0; c < x.cols; c += group) {
      NormRow(RowOf(y, r) + c, RowOf(x, r) + c, gain, eps, group);
    }
  }
}

SIMD_INLINE float Mean(const float* x, int n) {
  vf sum[2] = {};
  int i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    sum[0] += Load(x + i);
    sum[1] += Load(x + i + kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) sum[0] += Load(x + i);
  if (i < n) sum[1] += LoadPart(x + i, n - i);
  return Sum(sum[0] + sum[1]) / static_cast<float>(n);
}

// The RMS norm of the differences from the mean.
void LayerNorm(Mat y, Mat x, const float* gain, float eps) {
  for (int r = 0; r < x.rows; ++r) {
    float* to = RowOf(y, r);
    const float* from = RowOf(x, r);
    const float mean = Mean(from, x.cols);
    int i = 0;
    for (; i + kLanes <= x.cols; i += kLanes) Store(to + i, Load(from + i) - mean);
    if (i < x.cols) StorePart(to + i, LoadPart(from + i, x.cols - i) - mean, x.cols - i);
    NormRow(to, to, gain, eps, x.cols);
  }
}

void AddNorm(Mat x, Mat h, const float* gain, float eps) {
  for (int r = 0; r < x.rows; ++r) {
    float* to = RowOf(x, r);
    const float* from = RowOf(h, r);
    const float factor = Factor(from, x.cols, eps);
    int i = 0;
    for (; i + kLanes <= x.cols; i += kLanes) {
      Store(to + i, Fma(Load(from + i) * factor, Load(gain + i), Load(to + i)));
    }
    const int n = x.cols - i;
    if (n == 0) continue;
    StorePart(to + i,
              Fma(LoadPart(from + i, n) * factor, LoadPart(gain + i, n), LoadPart(to + i, n)), n);
  }
}

}  // namespace

void FillNorm(CpuOps& ops) {
  ops.rms_norm = RmsNorm;
  ops.add_norm = AddNorm;
  ops.layer_norm = LayerNorm;
}

}  // namespace softsplice::SIMD_NAMESPACE
