// Who owns which blocks of the caches: plain accounting, no memory of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace softsplice {

// Full layers share a pool of blocks and a sequence takes as many as its positions need; sliding
// layers give every slot a fixed ring. A sequence reserves all it may ever need before it starts,
// so a running one never fails for want of memory. Not thread-safe.
class KvPool {
 public:
  struct Shape {
    int block_rows = 0;
    int slots = 0;            // sequences at once
    int full_blocks = 0;      // of all sequences together
    int blocks_per_slot = 0;  // of full layers, at most, for one sequence
    int ring_blocks = 0;      // of sliding layers, per slot
  };
  // `sequences` of up to `context_length` positions each, read at most `chunk` rows in one step.
  static Shape ShapeFor(int sequences, int context_length, int window, int chunk);

  explicit KvPool(const Shape& shape);

  const Shape& shape() const { return shape_; }
  // A slot with room for `positions`; none if there is not enough left now. `positions` is at most
  // the context length.
  std::optional<int> Reserve(int positions);
  void Release(int slot);

  // How often blocks have been given out.
  uint64_t changes() const { return changes_; }
  absl::Span<const int32_t> FullBlocks(int slot) const { return full_[slot]; }
  absl::Span<const int32_t> RingBlocks(int slot) const { return ring_[slot]; }
  int full_blocks_used() const {
    return shape_.full_blocks - static_cast<int>(free_blocks_.size());
  }
  int slots_used() const { return shape_.slots - static_cast<int>(free_slots_.size()); }

 private:
  Shape shape_;
  uint64_t changes_ = 0;
  std::vector<int32_t> free_blocks_;
  std::vector<int> free_slots_;
  std::vector<std::vector<int32_t>> full_;
  std::vector<std::vector<int32_t>> ring_;
};

}  // namespace softsplice
