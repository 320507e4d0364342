// The table of CPU kernels that each instruction set fills in, a family of ops a file, and the
// plain arguments they take. A kernel works on what it is given, on the calling thread; CpuBackend
// cuts ops into pieces.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/matmul/kernels.h"
#include "kernels/mat.h"

namespace softsplice {

// Query rows (times heads of a group) that attention works on at a time, and the positions whose
// softmax is finished by itself: partial results of such splits are merged in order of position,
// so that neither the threads nor the other rows change a row's result.
constexpr int kAttentionTile = 48;
constexpr int kAttentionSplit = 256;

struct AttentionCall {
  Mat y, q, k, v;  // as Backend::Attention
  Mat positions, table, blocks;
  int block_rows = 0;
  int kv_heads = 0;
  int group = 0;  // query heads per KV head
  int head_dim = 0;
  int window = 0;
  float* partials = nullptr;
};

// Rows [row, row + rows) of one sequence and the query heads of KV heads [kv_head, kv_head +
// kv_heads). With a place in the call's `partials`, only one split, whose unfinished results go
// there: for every KV head, row and query head of the group, (head_dim sums, maximum, sum of
// weights).
struct AttentionItem {
  int sequence = 0;
  int kv_head = 0;
  int kv_heads = 1;
  int row = 0;
  int rows = 0;
  int first_split = 0;
  int splits = 0;
  int64_t partial = -1;
};

// One run of rows [begin, end) for one head; `keys` and `values` are its packed copies. `row` and
// `rows`: the query rows of this item.
struct SelfAttentionItem {
  int begin = 0;
  int end = 0;
  int column = 0;
  int row = 0;
  int rows = 0;
  float* keys = nullptr;
  float* values = nullptr;
};

struct LocalAttentionCall {
  Mat y, q, k, v, relative, starts;  // as Backend::LocalAttention
  int head_dim = 0;
  int left = 0;
  float cap = 0;
};

struct CpuOps {
  int lanes;
  MatmulKernels matmul;
  // y, x, gate, up: equal shapes.
  void (*add)(Mat y, Mat x);
  void (*scale)(Mat x, float factor);
  void (*softcap)(Mat x, float cap);
  void (*gelu_mul)(Mat gate, Mat up, bool quick);
  void (*relu)(Mat x);
  void (*silu)(Mat x);
  void (*glu)(Mat y, Mat x);
  void (*add_vector)(Mat x, const float* w);
  void (*mul_vector)(Mat x, const float* w, int n);

  void (*to_half)(uint16_t* y, const float* x, int n);
  // y's rows [first, first + rows) of the smaller grid.
  void (*average_pool)(Mat y, Mat x, int first, int rows, int columns, int size);
  // gain may be null; y may be x.
  void (*rms_norm)(Mat y, Mat x, const float* gain, float eps, int group);
  void (*add_norm)(Mat x, Mat h, const float* gain, float eps);
  void (*layer_norm)(Mat y, Mat x, const float* gain, float eps);
  // frequencies[pairs]: angle per position, rotating (first + i, first + i + pairs) of every head.
  void (*rope)(Mat x, Mat positions, const float* frequencies, int head_dim, int first, int pairs);

  size_t (*attention_scratch)(const AttentionCall& call);  // floats
  void (*attention)(const AttentionCall& call, const AttentionItem& item, float* scratch);
  // Finishes rows of one KV head: the first split's results are at item.partial, those of the
  // following splits one split of all KV heads further each.
  void (*attention_merge)(const AttentionCall& call, const AttentionItem& item);

  // Floats of the packed keys and of the packed values of a run, each.
  size_t (*self_attention_packed)(int rows, int head_dim);
  size_t (*self_attention_scratch)(int head_dim);
  void (*self_attention_pack)(Mat k, Mat v, int head_dim, const SelfAttentionItem& item);
  void (*self_attention)(Mat y, Mat q, int head_dim, const SelfAttentionItem& item, float* scratch);

  // Rows [first, first + rows); scratch: left + 1 numbers, rounded up to whole vectors.
  void (*local_attention)(const LocalAttentionCall& call, int first, int rows, float* scratch);
  // Rows [first, first + rows); taps [width, cols].
  void (*depthwise_conv)(Mat y, Mat x, const float* taps, int width, Mat starts, int first,
                         int rows);
};

namespace cpu_generic {
const CpuOps& Ops();
}
namespace cpu_avx2 {
const CpuOps& Ops();
}
namespace cpu_avx512 {
const CpuOps& Ops();
}

#ifdef SIMD_NAMESPACE  // in the bodies: each family puts its kernels into the table
namespace SIMD_NAMESPACE {
void FillMatmul(CpuOps& ops);
void FillElementwise(CpuOps& ops);
void FillNorm(CpuOps& ops);
void FillRope(CpuOps& ops);
void FillAttention(CpuOps& ops);
void FillSelfAttention(CpuOps& ops);
void FillLocalAttention(CpuOps& ops);
void FillDepthwiseConv(CpuOps& ops);
const CpuOps& Ops();
}  // namespace SIMD_NAMESPACE
#endif

}  // namespace softsplice
