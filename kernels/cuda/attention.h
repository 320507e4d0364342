// Attention over the cache and attention inside runs of rows; backend.h has the formulas.
//
// Tensor cores take float16 caches of the head sizes that models have; any other head, and every
// float32 cache, goes to a plain kernel in float32. Which of the tensor cores' two kernels a row
// goes to depends on its own sequence alone: a sequence's only row in a step is a decode row, which
// many blocks share; several rows are prompt rows, which share what a block reads where they are
// neighbours. Both give the same bits (softmax.h), whatever else is in the step and however it was
// cut.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/specs.h"

namespace softsplice::cuda {

// q: float32 [rows, heads * head_dim]; y: the same, or bfloat16; the cache: float16 or float32.
// Each sequence of the step has blocks. Lengths are read on the device: how a call is launched
// depends on its shapes alone.
struct AttentionCall {
  Mat y, q;
  KvLayer kv;
  RowMap rows;
  KvPages pages;
  AttentionSpec spec;
};

// Device memory to work in, of one stream. `counters` are zero before the first call; each call
// leaves them zero.
struct AttentionScratch {
  float* partials;
  unsigned* counters;
};
// How many numbers of each a call needs; what it points to is not looked at. A call with more rows,
// sequences or blocks of a table never needs less.
struct AttentionScratchSize {
  size_t partials;
  size_t counters;
};
AttentionScratchSize ScratchFor(const AttentionCall& call);

// `multiprocessors`: of the device.
cudaError_t LaunchAttention(cudaStream_t stream, const AttentionCall& call,
                            const AttentionScratch& scratch, int multiprocessors);

// q, k, v: float32 [rows, heads * head_dim]; y: the same, or bfloat16; starts: kI32 [runs + 1].
// Exact: all of it in float32; otherwise inputs and probabilities are rounded to float16 where
// there is a kernel for heads of that size.
struct SelfAttentionCall {
  Mat y, q, k, v;
  Mat starts;
  int heads;
  bool exact = false;
};
// Float16 numbers to work in.
size_t ScratchFor(const SelfAttentionCall& call);
cudaError_t LaunchSelfAttention(cudaStream_t stream, const SelfAttentionCall& call,
                                uint16_t* scratch);

// As Backend::PatchAttention; on the device: both gains [head_dim], and the frequencies of half of
// a head's dims (rope.h).
struct PatchHeads {
  const float* q_gain;
  const float* k_gain;
  float eps;
  Mat columns, rows;
  const float* frequencies;
};
// OnTensorCores(call).
cudaError_t LaunchPatchAttention(cudaStream_t stream, const SelfAttentionCall& call,
                                 const PatchHeads& heads, uint16_t* scratch);

}  // namespace softsplice::cuda
