// A backend that does nothing: with an Arena without memory, a forward pass over it tells how
// large a workspace the pass needs.
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"

namespace softsplice {

class NullBackend : public Backend {
 public:
  // `operands`: of the backend that the pass is for.
  explicit NullBackend(DType operands = DType::kF32) : operands_(operands) {}

  std::string Name() const override { return "null"; }
  DType Operands() const override { return operands_; }
  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t) override {
    return std::shared_ptr<void>();
  }
  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override {
    if (use == Use::kVector) return Weight{.rows = 1, .cols = static_cast<int>(tensor.Elements())};
    return Weight{.rows = static_cast<int>(tensor.Rows()), .cols = static_cast<int>(tensor.Cols())};
  }
  void Upload(Mat, const void*) override {}
  void Download(void*, Mat) override {}
  absl::Status Wait() override { return absl::OkStatus(); }
  void Embed(Mat, Mat, const Weight&, float) override {}
  void AddEmbedding(Mat, Mat, const Weight&) override {}
  void GatherRows(Mat, Mat, Mat) override {}
  void ScatterRows(Mat, Mat, Mat) override {}
  void Matmul(Mat, Mat, const Weight&) override {}
  void RmsNorm(Mat, Mat, const Weight*, float, int) override {}
  void Rope(Mat, Mat, const RopeSpec&) override {}
  void GeluMul(Mat, Mat, Gelu) override {}
  void Add(Mat, Mat) override {}
  void Scale(Mat, float) override {}
  void Scale(Mat, const Weight&) override {}
  void Softcap(Mat, float) override {}
  void TopLogits(Mat, Mat, Mat, Mat) override {}
  void KvAppend(const KvLayer&, Mat, Mat, const RowMap&, const KvPages&) override {}
  void Attention(Mat, Mat, const KvLayer&, const RowMap&, const KvPages&,
                 const AttentionSpec&) override {}
  void SelfAttention(Mat, Mat, Mat, Mat, Mat, int) override {}
  void AveragePool(Mat, Mat, int, int) override {}
  void Unfold(Mat, Mat, int, int) override {}
  void LayerNorm(Mat, Mat, const Weight&, float) override {}
  void Relu(Mat) override {}
  void Silu(Mat) override {}
  void Glu(Mat, Mat) override {}
  void AddVector(Mat, const Weight&) override {}
  void MulVector(Mat, const Weight&) override {}
  void DepthwiseConv(Mat, Mat, const Weight&, Mat) override {}
  void LocalAttention(Mat, Mat, Mat, Mat, Mat, Mat, const LocalAttentionSpec&) override {}

 private:
  const DType operands_;
};

}  // namespace softsplice
