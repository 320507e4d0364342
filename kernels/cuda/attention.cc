// See attention.h.
#include "kernels/cuda/attention.h"

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/attention_shapes.h"

namespace softsplice::cuda {

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
  return LaunchFlashSelfAttention(stream, call, scratch);
}

}  // namespace softsplice::cuda
