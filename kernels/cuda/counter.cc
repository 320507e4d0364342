// What CudaBackend takes of a device; see kernels/footprint.h. It is kept to cuda_backend.cc by
// tests that compare the two.
#include <algorithm>
#include <set>
#include <utility>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/top_logits.h"
#include "kernels/footprint.h"

namespace softsplice {
namespace {

using namespace cuda;

class DeviceCounter final : public CountingBackend {
 public:
  DeviceCounter(bool exact, int ranks, bool large_tables_on_host)
      : CountingBackend(CudaOperands(exact)),
        exact_(exact),
        ranks_(ranks),
        large_tables_on_host_(large_tables_on_host) {}

  void Matmul(Mat /*y*/, Mat x, const Weight& w) override { CountOperand(x, w); }
  void GatedMatmul(Mat /*y*/, Mat /*tmp*/, Mat x, const Weight& gate, const Weight& up,
                   Gelu /*gelu*/) override {
    CountOperand(x, gate);
    CountOperand(x, up);
  }
  void MatmulGelu(Mat /*y*/, Mat x, const Weight& w, Mat /*times*/, Gelu /*gelu*/) override {
    CountOperand(x, w);
  }
  void MatmulSilu(Mat /*y*/, Mat x, const Weight& w) override { CountOperand(x, w); }
  void Rope(Mat /*x*/, Mat /*positions*/, const RopeSpec& spec) override {
    const auto [_, is_new] = rotations_.insert({spec.base, spec.count});
    if (is_new) frequencies_ += static_cast<size_t>(spec.count / 2);
  }
  void Attention(Mat y, Mat q, const KvLayer& kv, const RowMap& rows, const KvPages& pages,
                 const AttentionSpec& spec) override {
    const AttentionScratchSize size = ScratchFor(AttentionCall{y, q, kv, rows, pages, spec});
    partials_ = std::max(partials_, size.partials);
    counters_ = std::max(counters_, size.counters);
  }
  void SelfAttention(Mat y, Mat q, Mat k, Mat v, Mat starts, int heads) override {
    halves_ = std::max(halves_, ScratchFor(SelfAttentionCall{y, q, k, v, starts, heads, exact_}));
  }
  void TopLogits(Mat /*ids*/, Mat /*values*/, Mat /*stats*/, Mat logits) override {
    keys_ = std::max(keys_, TopLogitsScratch(logits));
  }

 private:
  uint64_t PackedBytes(const gguf::Tensor& tensor, Use use) const override {
    switch (use) {
      case Use::kLinear:
        return TilesFor(tensor).Bytes();
      case Use::kTable:
        return tensor.bytes;
      case Use::kLargeTable:
        return large_tables_on_host_ ? 0 : tensor.bytes;
      case Use::kVector:
        return static_cast<uint64_t>(tensor.Elements()) * sizeof(float);
    }
    return 0;
  }

  absl::StatusOr<gguf::Tensor> Part(const gguf::Tensor& tensor, gguf::Split split) const override {
    return PartToPack(tensor, split, ranks_);
  }

  void CountOperand(const Mat& x, const Weight& w) {
    operands_ = std::max(operands_, MatmulScratch(x, w, exact_));
  }

  uint64_t Scratch() const override {
    return (partials_ + frequencies_) * sizeof(float) + counters_ * sizeof(unsigned) +
           (halves_ + operands_) * sizeof(uint16_t) + keys_ * sizeof(uint64_t);
  }

  const bool exact_;
  const int ranks_;
  const bool large_tables_on_host_;
  // Numbers, as CudaBackend has them.
  std::set<std::pair<float, int>> rotations_;  // bases and counts
  size_t frequencies_ = 0, partials_ = 0, counters_ = 0, halves_ = 0, keys_ = 0, operands_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CountingBackend>> MakeDeviceCounter(bool exact_weights, int ranks,
                                                                   bool large_tables_on_host) {
  return std::make_unique<DeviceCounter>(exact_weights, ranks, large_tables_on_host);
}

}  // namespace softsplice
