// What CpuBackend takes of the host's memory; see kernels/footprint.h. Weights are counted as they
// are packed, what ops work in is bounded.
#include <algorithm>
#include <memory>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matmul/matmul.h"
#include "kernels/footprint.h"
#include "kernels/host_ops.h"

namespace softsplice {
namespace {

// Packed activations, an expanded panel, attention's tiles.
constexpr uint64_t kMostThreadBytes = uint64_t{4} << 20;

uint64_t Numbers(const Mat& x) { return static_cast<uint64_t>(x.rows) * x.cols; }

class HostCounter final : public CountingBackend {
 public:
  HostCounter(const CpuOps& ops, int threads, bool exact_weights)
      : ops_(ops), threads_(threads), exact_weights_(exact_weights) {}

  void Matmul(Mat /*y*/, Mat x, const Weight& /*w*/) override {
    activations_ = std::max(activations_, Numbers(x) / kBlock * sizeof(ActBlock));
  }
  void Attention(Mat, Mat, const KvLayer&, const RowMap&, const KvPages&,
                 const AttentionSpec&) override {
    partials_ = kMostPartialFloats * sizeof(float);
  }
  void SelfAttention(Mat, Mat, Mat k, Mat, Mat starts, int) override {
    // Each run of rows is filled up to whole vectors.
    const uint64_t filling = static_cast<uint64_t>(starts.rows) * ops_.lanes;
    packed_ =
        std::max(packed_, 2 * (static_cast<uint64_t>(k.rows) + filling) * k.cols * sizeof(float));
  }
  void DepthwiseConv(Mat /*y*/, Mat /*x*/, const Weight& kernel, Mat /*starts*/) override {
    packed_ = std::max(packed_, kernel.cols * sizeof(float));
  }

 private:
  uint64_t PackedBytes(const gguf::Tensor& tensor, Use use) const override {
    switch (use) {
      case Use::kLinear:
        return PackedLinearBytes(tensor, ops_.matmul, exact_weights_);
      case Use::kTable:
      case Use::kLargeTable:
        return PackedTableBytes(tensor);
      case Use::kVector:
        return static_cast<uint64_t>(tensor.Elements()) * sizeof(float);
    }
    return 0;
  }
  absl::StatusOr<gguf::Tensor> Part(const gguf::Tensor& tensor, gguf::Split) const override {
    return tensor;  // there is one processor
  }
  uint64_t Scratch() const override {
    return activations_ + partials_ + packed_ + static_cast<uint64_t>(threads_) * kMostThreadBytes;
  }

  const CpuOps& ops_;
  const int threads_;
  const bool exact_weights_;
  uint64_t activations_ = 0, partials_ = 0, packed_ = 0;  // bytes
};

}  // namespace

std::unique_ptr<CountingBackend> MakeCpuCounter(Isa isa, int threads, bool exact_weights) {
  return std::make_unique<HostCounter>(OpsOf(isa), threads, exact_weights);
}

}  // namespace softsplice
