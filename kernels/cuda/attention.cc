// See attention.h.
#include "kernels/cuda/attention.h"

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_shapes.h"

namespace softsplice::cuda {
namespace {

HalfHeads HalvesOf(const SelfAttentionCall& call, uint16_t* scratch) {
  const Mat& q = call.q;
  const auto half = [&](size_t index) {
    return Mat{scratch + index * static_cast<size_t>(q.rows) * static_cast<size_t>(q.cols), q.rows,
               q.cols, q.cols, DType::kF16};
  };
  return {half(0), half(1), half(2)};
}

}  // namespace

cudaError_t LaunchAttention(cudaStream_t stream, const AttentionCall& call,
                            const AttentionScratch& scratch, int multiprocessors) {
  if (!OnTensorCores(call)) return LaunchPlainAttention(stream, call);
  const cudaError_t error = LaunchDecodeAttention(stream, call, scratch, multiprocessors);
  if (error != cudaSuccess || call.rows.one_row_each) return error;
  return LaunchPromptAttention(stream, call);
}

cudaError_t LaunchSelfAttention(cudaStream_t stream, const SelfAttentionCall& call,
                                uint16_t* scratch) {
  if (!OnTensorCores(call)) return LaunchPlainSelfAttention(stream, call);
  const HalfHeads halves = HalvesOf(call, scratch);
  const cudaError_t error = LaunchRoundHeads(stream, call, halves);
  return error != cudaSuccess ? error : LaunchFlashSelfAttention(stream, call, halves);
}

cudaError_t LaunchPatchAttention(cudaStream_t stream, const SelfAttentionCall& call,
                                 const PatchHeads& heads, uint16_t* scratch) {
  const HalfHeads halves = HalvesOf(call, scratch);
  const cudaError_t error = LaunchNormPatchHeads(stream, call, heads, halves);
  return error != cudaSuccess ? error : LaunchFlashSelfAttention(stream, call, halves);
}

}  // namespace softsplice::cuda
