// The kernels among which attention.h chooses.
#pragma once

#include "kernels/cuda/attention.h"

namespace softsplice::cuda {

// Every shape and type, in float32.
cudaError_t LaunchPlainAttention(cudaStream_t stream, const AttentionCall& call);
cudaError_t LaunchPlainSelfAttention(cudaStream_t stream, const SelfAttentionCall& call);

// On tensor cores, where OnTensorCores(call): rows that are the only one of their sequence, and all
// others. Rows that are not theirs are left as they are.
cudaError_t LaunchDecodeAttention(cudaStream_t stream, const AttentionCall& call,
                                  const AttentionScratch& scratch, int multiprocessors);
cudaError_t LaunchPromptAttention(cudaStream_t stream, const AttentionCall& call);

// Heads in float16: dense matrices.
struct HalfHeads {
  Mat q, k, v;
};
// What `call` has as it is; and normed and turned.
cudaError_t LaunchRoundHeads(cudaStream_t stream, const SelfAttentionCall& call,
                             const HalfHeads& to);
cudaError_t LaunchNormPatchHeads(cudaStream_t stream, const SelfAttentionCall& call,
                                 const PatchHeads& heads, const HalfHeads& to);
// Takes q, k and v from `heads`.
cudaError_t LaunchFlashSelfAttention(cudaStream_t stream, const SelfAttentionCall& call,
                                     const HalfHeads& heads);

}  // namespace softsplice::cuda
