// The oracle: every op of kernels/backend.h as plain float32 loops, straight from its formula. Slow
// by design; the other backends are tested against it.
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"

namespace softsplice {

class RefBackend : public Backend {
 public:
  std::string Name() const override { return "ref"; }
  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) override;
  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override;
  void Upload(Mat dst, const void* host) override;
  void Download(void* host, Mat src) override;
  absl::Status Wait() override { return absl::OkStatus(); }

  void Embed(Mat y, Mat ids, const Weight& table, float scale) override;
  void AddEmbedding(Mat y, Mat ids, const Weight& table) override;
  void GatherRows(Mat y, Mat x, Mat index) override;
  void ScatterRows(Mat y, Mat x, Mat index) override;
  void Matmul(Mat y, Mat x, const Weight& w) override;
  void RmsNorm(Mat y, Mat x, const Weight* gain, float eps, int group) override;
  void Rope(Mat x, Mat positions, const RopeSpec& spec) override;
  void GeluMul(Mat gate, Mat up, Gelu gelu) override;
  void Add(Mat y, Mat x) override;
  void Scale(Mat x, float factor) override;
  void Scale(Mat x, const Weight& w) override;
  void Softcap(Mat x, float cap) override;
  void KvAppend(const KvLayer& kv, Mat k, Mat v, const RowMap& rows, const KvPages& pages) override;
  void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                 const AttentionSpec& spec) override;
  void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) override;
  void AveragePool(Mat y, Mat x, int columns, int size) override;
  void Unfold(Mat y, Mat x, int channels, int first) override;
  void LayerNorm(Mat y, Mat x, const Weight& gain, float eps) override;
  void Relu(Mat x) override;
  void Silu(Mat x) override;
  void Glu(Mat y, Mat x) override;
  void AddVector(Mat x, const Weight& w) override;
  void MulVector(Mat x, const Weight& w) override;
  void DepthwiseConv(Mat y, Mat x, const Weight& kernel, Mat starts) override;
  void LocalAttention(Mat y, Mat q, Mat k, Mat v, Mat relative, Mat starts,
                      const LocalAttentionSpec& spec) override;
};

}  // namespace softsplice
