// Blocks of its own for every slot, as a runner takes them, where nothing is shared.
#pragma once

#include <numeric>
#include <vector>

#include "decoder_svc/kv/kv_manager.h"

namespace softsplice {

inline std::vector<BlockTable> OwnBlocks(const KvShape& shape) {
  const auto run = [](int slot, int blocks) {
    std::vector<int32_t> numbers(static_cast<size_t>(blocks));
    std::iota(numbers.begin(), numbers.end(), slot * blocks);
    return numbers;
  };
  std::vector<BlockTable> tables;
  for (int slot = 0; slot < shape.slots; ++slot) {
    tables.push_back({.full = run(slot, shape.full_per_slot),
                      .sliding = run(slot, shape.sliding_per_slot),
                      .version = static_cast<uint64_t>(slot) + 1});
  }
  return tables;
}

}  // namespace softsplice
