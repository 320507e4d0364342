// The fast CPU backend: cuts every op into pieces for a fixed team of threads and runs them with
// the kernels of one instruction set. Ops are done when they return.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"

namespace softsplice {

class CpuBackend final : public Backend {
 public:
  // `isa` must be supported by the machine. `exact_weights`: see BackendOptions.
  CpuBackend(Isa isa, int threads, bool exact_weights);
  // With another table of kernels than the instruction set's own (for tests).
  CpuBackend(const CpuOps& ops, Isa isa, int threads, bool exact_weights);

  std::string Name() const override;
  absl::StatusOr<std::shared_ptr<void>> Allocate(size_t bytes) override;
  absl::StatusOr<Weight> Pack(const gguf::Tensor& tensor, Use use) override;
  void Upload(Mat dst, const void* host) override;
  void Download(void* host, Mat src) override;
  absl::Status Wait() override;

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
  void AddNorm(Mat x, Mat h, const Weight& gain, float eps) override;
  void GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up, Gelu gelu) override;

 private:
  // What RopeSpec says about angles, per position.
  struct Frequencies {
    float base;
    int count;
    std::shared_ptr<const void> factors;
    std::vector<float> values;
  };

  // False when there is no memory; the next Wait() says so.
  bool Grow(HostBuffer& buffer, size_t floats);
  bool GrowAll(std::vector<HostBuffer>& buffers, size_t floats);
  // Calls body(first, rows) over pieces of [0, rows) of about a cache's worth of numbers.
  void ForRows(int rows, int cols, absl::FunctionRef<void(int first, int rows)> body);
  // The same for ops that can also be cut between columns.
  void ForTiles(int rows, int cols,
                absl::FunctionRef<void(int row, int rows, int col, int cols)> body);
  const float* FrequenciesOf(const RopeSpec& spec);

  const CpuOps& ops_;
  const Isa isa_;
  const bool exact_weights_;
  ThreadPool pool_;
  MatmulScratch matmul_scratch_;
  std::vector<HostBuffer> thread_scratch_;
  HostBuffer partials_;
  HostBuffer packed_;
  AttentionPlan attention_plan_;
  SelfAttentionPlan self_attention_plan_;
  std::vector<Frequencies> frequencies_;
  absl::Status status_;  // since the last Wait()
};

}  // namespace softsplice
