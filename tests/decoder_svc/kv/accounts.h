// Whether the books of a KvManager are right.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "decoder_svc/kv/kv_manager.h"

namespace softsplice {

// Of a pool, where each block is held by so many sequences, and the tree keeps blocks so many times
// in all.
inline testing::AssertionResult AddsUp(const BlockPool& pool, absl::Span<const int> holders,
                                       int kept) {
  int idle = 0, used = 0;
  for (int32_t block = 0; block < pool.size(); ++block) {
    if (pool.holders(block) != holders[block]) {
      return testing::AssertionFailure() << "block " << block << ": " << holders[block]
                                         << " hold it, " << pool.holders(block) << " are counted";
    }
    kept -= pool.keepers(block);
    if (pool.keepers(block) == 0 && holders[block] == 0) ++idle;
    if (holders[block] > 0) ++used;
  }
  if (kept != 0) return testing::AssertionFailure() << kept << " blocks in the tree alone";
  if (pool.free() != idle) {
    return testing::AssertionFailure() << pool.free() << " free, " << idle << " idle";
  }
  if (pool.used() != used) {
    return testing::AssertionFailure() << pool.used() << " used, " << used << " held";
  }
  return testing::AssertionSuccess();
}

// Each block is free, held by these sequences, who are all there are, or kept by the tree, nothing
// else is held, and there is what was promised.
inline testing::AssertionResult AllBlocksAddUp(const KvManager& manager,
                                               absl::Span<const SequenceKv* const> sequences) {
  std::vector<int> full(static_cast<size_t>(manager.full().size()));
  std::vector<int> sliding(static_cast<size_t>(manager.sliding().size()));
  int promised = 0;
  for (const SequenceKv* kv : sequences) {
    for (const int32_t block : kv->blocks.full) ++full[block];
    for (int i = kv->first_sliding; i < kv->end_sliding; ++i) {
      ++sliding[kv->blocks.sliding[i % kv->blocks.sliding.size()]];
    }
    promised += kv->promised;
  }
  if (manager.full().used() + promised > manager.full().size()) {
    return testing::AssertionFailure() << promised << " blocks are promised";
  }
  if (manager.slots_used() != static_cast<int>(sequences.size())) {
    return testing::AssertionFailure() << manager.slots_used() << " slots";
  }
  if (auto result = AddsUp(manager.full(), full, manager.tree().nodes()); !result) {
    return result << ", of full layers";
  }
  if (auto result = AddsUp(manager.sliding(), sliding, manager.tree().windows()); !result) {
    return result << ", of sliding layers";
  }
  return testing::AssertionSuccess();
}

}  // namespace softsplice
