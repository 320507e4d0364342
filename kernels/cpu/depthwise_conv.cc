// Causal convolution of every column by itself: y[i][c] = sum over j of taps[j][c] x[i - (width -
// 1)
// + j][c], rows before the run being zero. Reads x and writes y once (a row is read again from
// cache for each tap). Compiled once per instruction set.
#include "kernels/cpu/families.h"
#include "kernels/cpu/simd.h"

namespace softsplice::SIMD_NAMESPACE {
namespace {

// The row of y whose `count` last taps see rows of the run; x: the oldest of these rows.
void ConvolveRow(float* y, const float* x, size_t pitch, const float* taps, int count, int cols) {
  for (int c = 0; c < cols; c += kLanes) {
    const int n = cols - c;
    const bool whole = n >= kLanes;
    vf sum = {};
    for (int j = 0; j < count; ++j) {
      const float* tap = taps + j * cols + c;
      const float* from = x + static_cast<size_t>(j) * pitch + c;
      sum = whole ? Fma(Load(tap), Load(from), sum) : Fma(LoadPart(tap, n), LoadPart(from, n), sum);
    }
    if (whole) {
      Store(y + c, sum);
    } else {
      StorePart(y + c, sum, n);
    }
  }
}

void DepthwiseConv(Mat y, Mat x, const float* taps, int width, Mat starts, int first, int rows) {
  int run = 0;
  for (int r = first; r < first + rows; ++r) {
    run = RunOf(starts, run, r);
    const int seen = r - IndexOf(starts, run) + 1;
    const int count = seen < width ? seen : width;
    ConvolveRow(RowOf(y, r), RowOf(x, r - count + 1), static_cast<size_t>(x.pitch),
                taps + (width - count) * x.cols, count, x.cols);
  }
}

}  // namespace

void FillDepthwiseConv(CpuOps& ops) { ops.depthwise_conv = DepthwiseConv; }

}  // namespace softsplice::SIMD_NAMESPACE
