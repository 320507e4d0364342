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

}  // namespace

void PlanAttention(const AttentionCall& call, Mat sequences, size_t most_partial_floats,
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
    const size_t split_floats = static_cast<size_t>(queries * (call.head_dim + 2));
    const size_t floats = split_floats * static_cast<size_t>(item.splits);
    const size_t all_floats = floats * static_cast<size_t>(call.kv_heads);
    const bool cut = queries <= kDecodeQueries && item.splits > 1 &&
                     plan->partial_floats + all_floats <= most_partial_floats;
    if (!cut) {
      for (item.kv_head = 0; item.kv_head < call.kv_heads; ++item.kv_head) {
        plan->items.push_back(item);
      }
      continue;
    }
    item.partial = static_cast<int64_t>(plan->partial_floats);
    plan->partial_floats += all_floats;
    // Heads of one position lie side by side: visit them together.
    for (int s = 0; s < item.splits; ++s) {
      AttentionItem part = item;
      part.first_split += s;
      part.splits = 1;
      for (part.kv_head = 0; part.kv_head < call.kv_heads; ++part.kv_head) {
        const size_t before = floats * static_cast<size_t>(part.kv_head);
        part.partial =
            item.partial + static_cast<int64_t>(before + split_floats * static_cast<size_t>(s));
        plan->items.push_back(part);
      }
    }
    for (item.kv_head = 0; item.kv_head < call.kv_heads; ++item.kv_head) {
      plan->merges.push_back(item);
      item.partial += static_cast<int64_t>(floats);
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
