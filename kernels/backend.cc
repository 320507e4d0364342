// What a backend does where it has no way of its own. See backend.h.
#include "kernels/backend.h"

#include "kernels/host_memory.h"

namespace softsplice {

absl::StatusOr<std::shared_ptr<void>> Backend::AllocateStaging(size_t bytes) {
  return AllocateHost(bytes);
}

void Backend::AddNorm(Mat x, Mat h, const Weight& gain, float eps) {
  RmsNorm(h, h, &gain, eps);
  Add(x, h);
}

void Backend::MatmulAll(absl::Span<const Linear> all, Mat x) {
  for (const Linear& linear : all) Matmul(linear.y, x, *linear.w);
}

void Backend::GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up, Gelu gelu) {
  Matmul(tmp, x, up);
  MatmulGelu(y, x, gate, tmp, gelu);
}

void Backend::MatmulGelu(Mat y, Mat x, const Weight& w, Mat times, Gelu gelu) {
  Matmul(y, x, w);
  GeluMul(y, times, gelu);
}

void Backend::AddNormNorm(Mat y, Mat x, Mat h, const Weight& gain, const Weight* scale,
                          const Weight& next_gain, float eps) {
  AddNorm(x, h, gain, eps);
  if (scale != nullptr) Scale(x, *scale);
  RmsNorm(y, x, &next_gain, eps);
}

void Backend::HeadNormRope(Mat x, const Weight& gain, float eps, Mat positions,
                           const RopeSpec& rope) {
  RmsNorm(x, x, &gain, eps, rope.head_dim);
  Rope(x, positions, rope);
}

void Backend::NormAppend(const KvLayer& kv, Mat q, Mat k, Mat v, const Weight& q_gain,
                         const Weight& k_gain, float eps, const RopeSpec& rope, const RowMap& rows,
                         const KvPages& pages) {
  HeadNormRope(q, q_gain, eps, rows.positions, rope);
  HeadNormRope(k, k_gain, eps, rows.positions, rope);
  RmsNorm(v, v, nullptr, eps, rope.head_dim);
  KvAppend(kv, k, v, rows, pages);
}

void Backend::PatchAttention(Mat y, Mat q, Mat k, Mat v, const PatchAttentionSpec& spec) {
  const int head = q.cols / spec.heads;
  const RopeSpec by_column{.head_dim = head, .count = head / 2, .base = spec.rope_base};
  RopeSpec by_row = by_column;
  by_row.first = head / 2;
  HeadNormRope(q, *spec.q_gain, spec.eps, spec.columns, by_column);
  HeadNormRope(k, *spec.k_gain, spec.eps, spec.columns, by_column);
  for (Mat rotated : {q, k}) Rope(rotated, spec.rows, by_row);
  RmsNorm(v, v, nullptr, spec.eps, head);
  SelfAttention(y, q, k, v, spec.starts, spec.heads);
}

void Backend::LayerNormRelu(Mat x, const Weight& gain, float eps) {
  LayerNorm(x, x, gain, eps);
  Relu(x);
}

void Backend::MatmulSilu(Mat y, Mat x, const Weight& w) {
  Matmul(y, x, w);
  Silu(y);
}

void Backend::GluConv(Mat y, Mat tmp, Mat x, const Weight& kernel, const Weight& gain, float eps,
                      Mat starts) {
  Glu(tmp, x);
  DepthwiseConv(y, tmp, kernel, starts);
  RmsNorm(y, y, &gain, eps);
  Silu(y);
}

void Backend::ScaledLocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                                   const Weight& q_scale, float k_scale,
                                   const LocalAttentionSpec& spec) {
  MulVector(q, q_scale);
  Scale(k, k_scale);
  LocalAttention(y, q, k, v, relative, starts, spec);
}

}  // namespace softsplice
