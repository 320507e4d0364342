// The ops that only the towers of pictures and sounds call. The rules are backend.h's.
#pragma once

#include "kernels/mat.h"
#include "kernels/specs.h"

namespace softsplice {

class TowerOps {
 public:
  virtual ~TowerOps() = default;

  // Attention without a cache and without a mask, scale 1, inside each run of rows [starts[i],
  // starts[i + 1]). y, q, k, v: [rows, heads * head_dim]; starts: kI32 [runs + 1]. y may be of
  // Operands().
  virtual void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) = 0;
  // Means of size x size tiles of a picture: x's rows are a grid of `columns` in reading order,
  // both sides multiples of `size`; y's rows are the smaller grid. Sums in float32.
  virtual void AveragePool(Mat y, Mat x, int columns, int size) = 0;

  // Patches of a 3x3 convolution with stride 2 and padding 1 over one sound: x [frames, bins *
  // channels], y [output frames * ceil(bins / 2), 9 * channels] for output frames from `first` on
  // (of ceil(frames / 2)). A patch is (row, column, channel): Matmul with a kernel in that order is
  // the convolution, and its result, seen as [output frames, ceil(bins / 2) * outputs], is the next
  // one's x. y may be of Operands().
  virtual void Unfold(Mat y, Mat x, int channels, int first) = 0;
  // y = (x - mean) / sqrt(variance + eps) * gain over each row. y may be x, or of Operands().
  virtual void LayerNorm(Mat y, Mat x, const Weight& gain, float eps) = 0;
  // x = max(x, 0); x = x sigmoid(x).
  virtual void Relu(Mat x) = 0;
  virtual void Silu(Mat x) = 0;
  // y = a * sigmoid(b), a and b being the two halves of x's columns.
  virtual void Glu(Mat y, Mat x) = 0;
  // x[i] += w; x[i][c] *= w[c mod w.cols], x.cols being a multiple of w.cols.
  virtual void AddVector(Mat x, const Weight& w) = 0;
  virtual void MulVector(Mat x, const Weight& w) = 0;
  // y[i][c] = sum over j < width of kernel[c][j] * x[i - (width - 1) + j][c] in each run of rows
  // (`starts` as SelfAttention's; rows before the run are zero). kernel: a kVector, [cols, width].
  virtual void DepthwiseConv(Mat y, Mat x, const Weight& kernel, Mat starts) = 0;
  // Attention of each row to itself and the `left` rows before it, inside each run of rows: y[i] =
  // softmax over j of (cap tanh(q[i] (k[j] + relative[i - j]) / cap)) times v[j], per head.
  // relative: [left + 1, heads * head_dim], row d for distance d. y may be of Operands().
  virtual void LocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                              const LocalAttentionSpec& spec) = 0;
};

}  // namespace softsplice
