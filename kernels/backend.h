// The whole vocabulary of every forward pass. No device API, no gRPC and no model name appears
// here: a model is written once over this interface, and a backend (kernels/ref, kernels/cpu, a
// CUDA one) makes it run.
//
// One Backend is one device, one stream and one calling thread. Ops enqueue: they never read back
// and never fail; buffers inside a backend only grow to the largest shape seen. Wait() drains and
// returns the first error since the last Wait(), after which what was computed is worthless; an
// error that the device does not recover from comes from every Wait() after it. Outputs come first
// in every signature; unless an op says so, output and inputs must not overlap.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/gguf/file.h"
#include "kernels/load_progress.h"
#include "kernels/mat.h"
#include "kernels/rank_ops.h"
#include "kernels/specs.h"
#include "kernels/tower_ops.h"

namespace softsplice {

class Backend : public RankOps, public TowerOps, public LoadReports {
 public:
  // For people: "cpu avx2 2 threads".
  virtual std::string Name() const = 0;

  // Load time. RESOURCE_EXHAUSTED when memory is short. Memory is zeroed, and 256-byte aligned.
  virtual absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) = 0;
  // Memory of the host, which Download is fastest into; zeroed.
  virtual absl::StatusOr<std::shared_ptr<void>> AllocateStaging(size_t bytes);
  // Makes room for ops as large as `ops` (as Replay's) calls, and computes none of them.
  virtual void Reserve(absl::FunctionRef<void()> /*ops*/) {}

  // The type that models give what only Matmul and its fusions read, as x: half the bytes where
  // they would round it anyway. Ops whose y may be of it say so, and clamp it to its bounds if it
  // is kBF16; all other matrices are kF32.
  virtual DType Operands() const { return DType::kF32; }

  // Step boundary. Host memory is dense (pitch == cols) and of the matrix's type. Upload has read
  // it when it returns; Download has written it when Wait() returns.
  virtual void Upload(Mat dst, const void* host) = 0;
  virtual void Download(void* host, Mat src) = 0;
  virtual absl::Status Wait() = 0;

  // y[i] = scale * table[ids[i]].
  virtual void Embed(Mat y, Mat ids, const Weight& table, float scale) = 0;
  // y[i] += table[ids[i]].
  virtual void AddEmbedding(Mat y, Mat ids, const Weight& table) = 0;
  // y[i] = x[index[i]]. Both of one type.
  virtual void GatherRows(Mat y, Mat x, Mat index) = 0;
  // y[index[i]] = x[i]; no index appears twice. Both of one type.
  virtual void ScatterRows(Mat y, Mat x, Mat index) = 0;

  // y = clamp(clamp(x) W^T): x [rows, W.cols], y [rows, W.rows], both of Operands() or kF32. The
  // sums of one row are in the same order whatever the number of rows.
  virtual void Matmul(Mat y, Mat x, const Weight& w) = 0;
  // y = x / sqrt(mean(x^2) + eps) * gain over each `group` columns (0: the whole row); gain may be
  // null. y may be x, or of Operands().
  virtual void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group = 0) = 0;
  // In place.
  virtual void Rope(Mat x, Mat positions, const RopeSpec& spec) = 0;
  // gate = gelu(gate) * up.
  virtual void GeluMul(Mat gate, Mat up, Gelu gelu) = 0;
  // y += x.
  virtual void Add(Mat y, Mat x) = 0;
  // x *= factor; x *= w (a vector of one).
  virtual void Scale(Mat x, float factor) = 0;
  virtual void Scale(Mat x, const Weight& w) = 0;
  // x = cap * tanh(x / cap).
  virtual void Softcap(Mat x, float cap) = 0;

  // What picking a token takes of each row of `logits`: its best ids, kI32 [rows, n], and their
  // logits, [rows, n], the best first and of equal ones the smaller id; and [rows, 2], the largest
  // and ln(sum(e^logit)), both NaN where a logit is not finite, ids and values being worthless
  // then. n is kMostTopLogits at most and no more than logits.cols.
  virtual void TopLogits(Mat ids, Mat values, Mat stats, Mat logits) = 0;

  // Stores k and v [rows, kv_heads * head_dim] at the rows' positions.
  virtual void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows,
                        const KvPages& pages) = 0;
  // Causal attention of q [rows, heads * head_dim] over the cache, softmax(q k^T) v, scale 1. The
  // rows' own keys are already appended. y may be of Operands().
  virtual void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                         const AttentionSpec& spec) = 0;

  // Runs `ops`, which calls ops of this backend and nothing else. All calls with one key are of the
  // same ones with the same arguments (not memory's content): a backend may replay the first ones.
  virtual void Replay(uint64_t /*key*/, absl::FunctionRef<void()> ops) { ops(); }

  // Fusions: the bodies here (backend.cc) are their definitions, an override may only be faster.
  // `h` and `tmp` are overwritten. x += norm(h) * gain.
  virtual void AddNorm(Mat x, Mat h, const Weight& gain, float eps);
  virtual void MatmulAll(absl::Span<const Linear> all, Mat x);  // Matmul of each
  // y = gelu(x gate^T) * (x up^T). y may be of Operands(), tmp is kF32.
  virtual void GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up, Gelu gelu);
  // y = gelu(x w^T) * times. y may be of Operands().
  virtual void MatmulGelu(Mat y, Mat x, const Weight& w, Mat times, Gelu gelu);
  // x += norm(h) * gain; x *= scale (a vector of one), unless it is null; y = norm(x) * next_gain.
  // y may be h, or of Operands().
  virtual void AddNormNorm(Mat y, Mat x, Mat h, const Weight& gain, const Weight* scale,
                           const Weight& next_gain, float eps);
  // x = rope(norm(x) * gain), each head by itself.
  virtual void HeadNormRope(Mat x, const Weight& gain, float eps, Mat positions,
                            const RopeSpec& rope);
  // HeadNormRope of q and k; then stores k and norm(v), each head by itself, as KvAppend does. k
  // and v are overwritten.
  virtual void NormAppend(const KvLayer& kv, Mat q, Mat k, Mat v, const Weight& q_gain,
                          const Weight& k_gain, float eps, const RopeSpec& rope, const RowMap& rows,
                          const KvPages& pages);
  // SelfAttention of the patches of pictures, each head by itself: q and k become rope(norm(.) *
  // gain), half of their dims turning with the column and half with the row, and v norm(v). All
  // three are overwritten. y may be of Operands().
  virtual void PatchAttention(Mat y, Mat q, Mat k, Mat v, const PatchAttentionSpec& spec);
  // x = relu(LayerNorm(x)).
  virtual void LayerNormRelu(Mat x, const Weight& gain, float eps);
  // y = silu(x w^T). y may be of Operands().
  virtual void MatmulSilu(Mat y, Mat x, const Weight& w);
  // y = silu(norm(DepthwiseConv(Glu(x))) * gain). y may be of Operands(), tmp [rows, y.cols] is
  // kF32.
  virtual void GluConv(Mat y, Mat tmp, Mat x, const Weight& kernel, const Weight& gain, float eps,
                       Mat starts);
  // LocalAttention of q times q_scale (as MulVector) and k times k_scale. q and k are overwritten.
  virtual void ScaledLocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                                    const Weight& q_scale, float k_scale,
                                    const LocalAttentionSpec& spec);
};

}  // namespace softsplice
