// How attention's work is cut into pieces for the threads: a pure function of the batch's shape.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/mat.h"

namespace softsplice {

struct AttentionPlan {
  // Independent pieces; the last are the longest where a sequence has many rows.
  std::vector<AttentionItem> items;
  // Rows whose splits were separate items, to be merged when all items are done.
  std::vector<AttentionItem> merges;
  size_t partial_floats = 0;
};

struct AttentionLimits {
  int threads = 1;
  size_t most_partial_floats = 0;  // memory for unfinished results
};

// Plans `call` for rows of `sequences` (as RowMap's). Tiles of a few query rows, which decoding
// gives, are cut by position too, as long as there is memory for the unfinished results. The cuts
// change no result. Reuses the plan's memory.
void PlanAttention(const AttentionCall& call, Mat sequences, const AttentionLimits& limits,
                   AttentionPlan* plan);

// The same for SelfAttention over `starts` (as Backend::SelfAttention's).
struct SelfAttentionPlan {
  std::vector<SelfAttentionItem> packs;  // first: rows of keys and values to pack
  std::vector<SelfAttentionItem> items;
  size_t packed_floats = 0;
};
// Packed keys and values lie from `packed` on; null to learn packed_floats.
void PlanSelfAttention(const CpuOps& ops, Mat starts, int heads, int head_dim, float* packed,
                       SelfAttentionPlan* plan);

}  // namespace softsplice
