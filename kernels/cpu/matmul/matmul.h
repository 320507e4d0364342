// Linear layers on the CPU: weights are packed once into the order that the kernels read them in.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "kernels/cpu/matmul/kernels.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/mat.h"

namespace softsplice {

// Packs the [rows, cols] linear `tensor` for `kernels`, which must outlive the weight. With
// `exact_weights`, quantised types become float32 panels; else they keep their codes, and
// activations are quantised to int8 on the way in. The result shares nothing with the file.
// RESOURCE_EXHAUSTED: out of memory.
absl::StatusOr<Weight> PackLinear(const gguf::Tensor& tensor, const MatmulKernels& kernels,
                                  bool exact_weights, ThreadPool& pool);

// What PackLinear allocates.
size_t PackedLinearBytes(const gguf::Tensor& tensor, const MatmulKernels& kernels,
                         bool exact_weights);

// Buffers for activations in the layouts that the kernels read; they only grow. One matmul at a
// time.
class MatmulScratch {
 public:
  MatmulScratch();
  ~MatmulScratch();
  MatmulScratch(const MatmulScratch&) = delete;
  MatmulScratch& operator=(const MatmulScratch&) = delete;

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// y = clamp(clamp(x, in) W^T, out): x [rows, w.cols], y [rows, w.rows], both float32, not
// overlapping. A row's result is bitwise the same whatever rows come with it and however many
// threads there are. `w` is of PackLinear. RESOURCE_EXHAUSTED: no memory for the scratch.
absl::Status Matmul(Mat y, Mat x, const Weight& w, MatmulScratch& scratch, ThreadPool& pool);

// y = gelu(x gate^T) * (x up^T): Matmul twice, then gelu_mul(y, tmp) (Backend::GeluMul), but
// activations are quantised once where both weights read them alike. tmp [rows, up.rows] is
// overwritten.
absl::Status GatedMatmul(Mat y, Mat tmp, Mat x, const Weight& gate, const Weight& up,
                         absl::FunctionRef<void(Mat gate, Mat up)> gelu_mul, MatmulScratch& scratch,
                         ThreadPool& pool);

}  // namespace softsplice
