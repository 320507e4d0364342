// How attention's work is cut: every query row and position that it sees is covered exactly once.
#include "kernels/cpu/attention_plan.h"

#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/host_ops.h"

namespace softsplice {
namespace {

// Plans are made by the host, of its own memory.
Mat View(std::vector<int32_t>& indices) {
  return {indices.data(), static_cast<int>(indices.size()), 1, 1, DType::kI32};
}

struct Batch {
  std::vector<int32_t> sequences;
  std::vector<int32_t> positions;
};

// `runs`: first position and rows of each sequence.
Batch MakeBatch(const std::vector<std::pair<int, int>>& runs) {
  Batch batch;
  for (size_t s = 0; s < runs.size(); ++s) {
    for (int i = 0; i < runs[s].second; ++i) {
      batch.sequences.push_back(static_cast<int>(s));
      batch.positions.push_back(runs[s].first + i);
    }
  }
  return batch;
}

AttentionCall CallOf(Batch& batch, int window) {
  return {.positions = View(batch.positions),
          .kv_heads = 2,
          .group = 4,
          .head_dim = 64,
          .window = window};
}

// (row, head, split) of all items; fails when one appears twice.
std::set<std::tuple<int, int, int>> Covered(const AttentionPlan& plan) {
  std::set<std::tuple<int, int, int>> seen;
  for (const AttentionItem& item : plan.items) {
    for (int r = item.row; r < item.row + item.rows; ++r) {
      for (int h = item.kv_head; h < item.kv_head + item.kv_heads; ++h) {
        for (int s = item.first_split; s < item.first_split + item.splits; ++s) {
          EXPECT_TRUE(seen.insert({r, h, s}).second) << r << " " << s;
        }
      }
    }
  }
  return seen;
}

void ExpectCovers(const AttentionCall& call, const AttentionPlan& plan, int rows) {
  const auto covered = Covered(plan);
  for (int r = 0; r < rows; ++r) {
    const int last = Index(call.positions, r);
    const int first = call.window == 0 ? 0 : std::max(0, last - call.window + 1);
    for (int head = 0; head < call.kv_heads; ++head) {
      for (int s = first / kAttentionSplit; s <= last / kAttentionSplit; ++s) {
        EXPECT_TRUE(covered.count({r, head, s})) << r << " " << s;
      }
    }
  }
}

TEST(AttentionPlanTest, CoversEveryRowAndSplit) {
  for (const int window : {0, 1, 512}) {
    for (const size_t most : {size_t{0}, size_t{20000}, size_t{1} << 30}) {
      const int threads = most == 0 ? 1 : 4;
      Batch batch = MakeBatch({{3000, 1}, {0, 100}, {700, 30}, {255, 2}, {256, 1}});
      const AttentionCall call = CallOf(batch, window);
      AttentionPlan plan;
      PlanAttention(call, View(batch.sequences), {threads, most}, &plan);
      ExpectCovers(call, plan, static_cast<int>(batch.sequences.size()));
      EXPECT_LE(plan.partial_floats, most);
    }
  }
}

TEST(AttentionPlanTest, DecodingRowsAreCutByPosition) {
  Batch batch = MakeBatch({{8191, 1}});
  const AttentionCall call = CallOf(batch, 0);
  constexpr int kSplits = 8192 / kAttentionSplit;
  // Few threads take all heads of a split at once, many take one head each.
  for (const int threads : {2, kSplits}) {
    AttentionPlan plan;
    PlanAttention(call, View(batch.sequences), {threads, size_t{1} << 30}, &plan);
    EXPECT_EQ(plan.items.size(), threads == 2 ? size_t{kSplits} : size_t{2 * kSplits});
    EXPECT_EQ(plan.merges.size(), 2u);
    std::set<int64_t> places;
    for (const AttentionItem& item : plan.items) {
      EXPECT_EQ(item.splits, 1);
      for (int h = 0; h < item.kv_heads; ++h) {
        EXPECT_TRUE(places.insert(item.partial + h * 4 * (64 + 2)).second);
      }
    }
    EXPECT_EQ(places.size(), size_t{2 * kSplits});
    EXPECT_EQ(*places.rbegin() + 4 * (64 + 2), static_cast<int64_t>(plan.partial_floats));
    ExpectCovers(call, plan, 1);
    // Without room for unfinished results the same rows become whole items.
    PlanAttention(call, View(batch.sequences), {threads, 100}, &plan);
    EXPECT_EQ(plan.items.size(), 2u);
    EXPECT_EQ(plan.partial_floats, 0u);
  }
}

TEST(AttentionPlanTest, TilesHoldOneSequenceAndFit) {
  Batch batch = MakeBatch({{0, 7}, {0, 50}, {90, 1}});
  const AttentionCall call = CallOf(batch, 0);
  AttentionPlan plan;
  PlanAttention(call, View(batch.sequences), {}, &plan);
  for (const AttentionItem& item : plan.items) {
    EXPECT_LE(item.rows * call.group, kAttentionTile);
    for (int r = item.row; r < item.row + item.rows; ++r) {
      EXPECT_EQ(batch.sequences[static_cast<size_t>(r)], item.sequence);
    }
  }
}

TEST(AttentionPlanTest, SelfAttentionCoversEveryRun) {
  std::vector<int32_t> starts = {0, 5, 1205};
  const CpuOps& ops = cpu_generic::Ops();
  SelfAttentionPlan plan;
  PlanSelfAttention(ops, View(starts), 3, 16, nullptr, &plan);
  std::vector<float> packed(plan.packed_floats);
  PlanSelfAttention(ops, View(starts), 3, 16, packed.data(), &plan);
  for (const auto* items : {&plan.packs, &plan.items}) {
    std::map<int, int> rows;  // of every head's column
    for (const SelfAttentionItem& item : *items) {
      rows[item.column] += item.rows;
      EXPECT_GE(item.row, item.begin);
      EXPECT_LE(item.row + item.rows, item.end);
      EXPECT_LE(item.values + ops.self_attention_packed(item.end - item.begin, 16),
                packed.data() + packed.size());
    }
    EXPECT_EQ(rows, (std::map<int, int>{{0, 1205}, {16, 1205}, {32, 1205}}));
  }
}

}  // namespace
}  // namespace softsplice
