// Causal convolution of every column by itself, rows before the run being zero:
// y[i][c] = sum over j of taps[j][c] x[i - (width - 1) + j][c].
// Reads x and writes y once (a row is read again from cache for each tap). Compiled once per
// instruction set.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

// One row: its `count` last taps see rows of the run, the oldest of which is x.
struct Taps {
  const float* taps;
  const float* x;
  size_t pitch;
  int count;
  int cols;

  // y[c] for K vectors of columns.
  template <int K>
  SIMD_INLINE_MEMBER void Run(float* y, int c) const {
    vf sum[K] = {};
    for (int j = 0; j < count; ++j) {
      const float* tap = taps + j * cols + c;
      const float* from = x + static_cast<size_t>(j) * pitch + c;
      for (int i = 0; i < K; ++i) {
        sum[i] = Fma(Load(tap + i * kLanes), Load(from + i * kLanes), sum[i]);
      }
    }
    for (int i = 0; i < K; ++i) Store(y + c + i * kLanes, sum[i]);
  }
  SIMD_INLINE_MEMBER void RunPart(float* y, int c) const {
    const int n = cols - c;
    vf sum = {};
    for (int j = 0; j < count; ++j) {
      sum = Fma(LoadPart(taps + j * cols + c, n),
                LoadPart(x + static_cast<size_t>(j) * pitch + c, n), sum);
    }
    StorePart(y + c, sum, n);
  }
};

void DepthwiseConv(Mat y, Mat x, const float* taps, int width, Mat starts, int first, int rows) {
  int run = 0;
  for (int r = first; r < first + rows; ++r) {
    run = RunOf(starts, run, r);
    const int seen = r - IndexOf(starts, run) + 1;
    const int count = seen < width ? seen : width;
    const Taps row{taps + (width - count) * x.cols, RowOf(x, r - count + 1),
                   static_cast<size_t>(x.pitch), count, x.cols};
    float* out = RowOf(y, r);
    int c = 0;
    for (; c + 4 * kLanes <= x.cols; c += 4 * kLanes) row.Run<4>(out, c);
    for (; c + kLanes <= x.cols; c += kLanes) row.Run<1>(out, c);
    if (c < x.cols) row.RunPart(out, c);
  }
}

}  // namespace

void FillDepthwiseConv(CpuOps& ops) { ops.depthwise_conv = DepthwiseConv; }

}  // namespace softsplice::SIMD_NAMESPACE
