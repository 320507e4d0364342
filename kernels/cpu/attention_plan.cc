// See attention_plan.h.
#include "kernels/cpu/attention_plan.h"

#include <algorithm>

#include "kernels/host_ops.h"

namespace softsplice {
namespace {

// A tile with at most this many query rows reads the cache faster than it computes.
constexpr int kDecodeQueries = 12;
// Rows that one item packs: a multiple of every panel's width.
constexpr int kPackRows = 512;

// Fills in the splits that rows [item.row, item.row + item.rows) see.
void FindSplits(const AttentionCall& call, AttentionItem* item) {
  const int first = Index(call.positions, item->row);
  const int begin = call.window == 0 ? 0 : std::max(0, first - call.window + 1);
  item->first_split = begin / kAttentionSplit;
  item->splits =
      Index(call.positions, item->row + item->rows - 1) / kAttentionSplit + 1 - item->first_split;
}

// Adds `item` for every `each` of the KV heads; their unfinished results lie head_floats apart.
void AddHeads(int kv_heads, int each, size_t head_floats, AttentionItem item,
              std::vector<AttentionItem>* items) {
  item.kv_heads = each;
  for (; item.kv_head < kv_heads; item.kv_head += each) {
    items->push_back(item);
    if (item.partial >= 0) item.partial += static_cast<int64_t>(head_floats);
  }
}

}  // namespace

void PlanAttention(const AttentionCall& call, Mat sequences, const AttentionLimits& limits,
                   AttentionPlan* plan) {
  plan->items.clear();
  plan->merges.clear();
  plan->partial_floats = 0;
  const int most_rows = kAttentionTile / call.group;
  for (int row = 0; row < sequences.rows;) {
    AttentionItem item{.sequence = Index(sequences, row), .row = row, .rows = 1};
    while (item.rows < most_rows && row + item.rows < sequences.rows &&
           Index(sequences, row + item.rows) == item.sequence) {
      ++item.rows;
    }
    row += item.rows;
    FindSplits(call, &item);
    const int queries = item.rows * call.group;
    const size_t head_floats = static_cast<size_t>(queries * (call.head_dim + 2));
    const size_t split_floats = head_floats * static_cast<size_t>(call.kv_heads);
    const size_t floats = split_floats * static_cast<size_t>(item.splits);
    if (queries > kDecodeQueries || item.splits == 1 ||
        plan->partial_floats + floats > limits.most_partial_floats) {
      AddHeads(call.kv_heads, 1, 0, item, &plan->items);
      continue;
    }
    item.partial = static_cast<int64_t>(plan->partial_floats);
    plan->partial_floats += floats;
    AddHeads(call.kv_heads, 1, head_floats, item, &plan->merges);
    // The heads of a position lie side by side in memory: best read by one thread, if there is
    // enough for every thread.
    const bool together =
        item.splits >= 2 * limits.threads && queries * call.kv_heads <= kAttentionTile;
    for (AttentionItem part = item; part.first_split < item.first_split + item.splits;
         ++part.first_split, part.partial += static_cast<int64_t>(split_floats)) {
      part.splits = 1;
      AddHeads(call.kv_heads, together ? call.kv_heads : 1, head_floats, part, &plan->items);
    }
  }
}

void PlanSelfAttention(const CpuOps& ops, Mat starts, int heads, int head_dim, float* packed,
                       SelfAttentionPlan* plan) {
  plan->packs.clear();
  plan->items.clear();
  plan->packed_floats = 0;
  for (int run = 0; run + 1 < starts.rows; ++run) {
    SelfAttentionItem item{.begin = Index(starts, run), .end = Index(starts, run + 1)};
    const size_t floats = ops.self_attention_packed(item.end - item.begin, head_dim);
    for (int head = 0; head < heads; ++head) {
      item.column = head * head_dim;
      if (packed != nullptr) {
        item.keys = packed + plan->packed_floats;
        item.values = item.keys + floats;
      }
      plan->packed_floats += 2 * floats;
      const auto cut = [&item](int most, std::vector<SelfAttentionItem>* items) {
        for (item.row = item.begin; item.row < item.end; item.row += most) {
          item.rows = std::min(most, item.end - item.row);
          items->push_back(item);
        }
      };
      cut(kPackRows, &plan->packs);
      cut(kAttentionTile, &plan->items);
    }
  }
}

}  // namespace softsplice
