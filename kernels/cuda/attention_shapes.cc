// See attention_shapes.h.
#include "kernels/cuda/attention_shapes.h"

#include <algorithm>
#include <cstdint>

namespace softsplice::cuda {
namespace {

int Group(const AttentionSpec& spec) { return spec.heads / spec.kv_heads; }

// Whether rows of float16 numbers start at multiples of 16 bytes.
bool Aligned(Mat m) { return m.pitch % 8 == 0 && reinterpret_cast<uintptr_t>(m.data) % 16 == 0; }

bool HasKernel(const AttentionSpec& spec) {
  const int dim = spec.head_dim;
  if (Group(spec) > kMostGroup) return false;
  return spec.window == 0 ? dim == 64 || dim == 512 : dim == 32 || dim == 64 || dim == 256;
}

// Splits that one row sees, at most.
int MostSplits(const AttentionCall& call) {
  if (call.spec.window > 0) return (call.spec.window + kSlidingSplit - 2) / kSlidingSplit + 1;
  const int positions = call.pages.table.cols * call.pages.block_rows;
  return (positions + kFullSplit - 1) / kFullSplit;
}

}  // namespace

bool OnTensorCores(const AttentionCall& call) {
  const KvLayer& kv = call.kv;
  return kv.k.type == DType::kF16 && Aligned(kv.k) && Aligned(kv.v) && HasKernel(call.spec);
}

bool OnTensorCores(const SelfAttentionCall& call) {
  const int dim = call.q.cols / call.heads;
  return !call.exact && (dim == 32 || dim == 64);
}

int MostDecodeItems(const AttentionCall& call) {
  return std::min(call.q.rows, call.pages.table.rows) * MostSplits(call) * call.spec.kv_heads;
}

int DecodeBlocks(const AttentionCall& call, int multiprocessors) {
  const int at_once = call.spec.head_dim > 256 ? 2 : 3;  // as their shared memory allows
  return std::min(MostDecodeItems(call), at_once * multiprocessors);
}

// A run of rows has one tile more than its rows fill where it begins inside of one, and one more
// where it ends inside of one.
int PromptBlocks(const AttentionCall& call) {
  const int rows = call.q.rows;
  const int runs = std::min(rows / 2, call.pages.table.rows);
  return std::min(rows, rows / (kPromptQueries / Group(call.spec)) + 2 * runs);
}

int MostSelfTiles(const SelfAttentionCall& call) {
  return call.q.rows / kSelfQueries + call.starts.rows - 1;
}

AttentionScratchSize ScratchFor(const AttentionCall& call) {
  if (!OnTensorCores(call)) return {};
  const int numbers = Group(call.spec) * (call.spec.head_dim + kPartialStats);
  return {.partials = static_cast<size_t>(MostDecodeItems(call)) * static_cast<size_t>(numbers),
          .counters = static_cast<size_t>(call.q.rows) * static_cast<size_t>(call.spec.kv_heads)};
}

size_t ScratchFor(const SelfAttentionCall& call) {
  if (!OnTensorCores(call)) return 0;
  return 3 * static_cast<size_t>(call.k.rows) * static_cast<size_t>(call.k.cols);
}

}  // namespace softsplice::cuda
