// The blocks of one kind of layer, by number: who holds which. Plain accounting, no memory.
#pragma once

#include <cstdint>
#include <vector>

namespace softsplice {

// A block is free until sequences hold it or the prefix tree keeps it. Not thread-safe.
class BlockPool {
 public:
  explicit BlockPool(int blocks) : blocks_(static_cast<size_t>(blocks)) {
    for (int32_t block = blocks - 1; block >= 0; --block) free_.push_back(block);
  }

  int size() const { return static_cast<int>(blocks_.size()); }
  int free() const { return static_cast<int>(free_.size()); }
  // Held by sequences.
  int used() const { return used_; }
  // By the tree alone.
  int kept() const { return size() - free() - used(); }
  int holders(int32_t block) const { return blocks_[block].holders; }
  int keepers(int32_t block) const { return blocks_[block].keepers; }

  // A free block, for one sequence; there is one.
  int32_t Take() {
    const int32_t block = free_.back();
    free_.pop_back();
    Hold(block);
    return block;
  }
  // One sequence more, or less.
  void Hold(int32_t block) {
    if (blocks_[block].holders++ == 0) ++used_;
  }
  void Drop(int32_t block) {
    if (--blocks_[block].holders > 0) return;
    --used_;
    if (blocks_[block].keepers == 0) free_.push_back(block);
  }
  // The tree's: one node more that keeps it, or less. Prompts that part inside a block may both
  // have its beginning from the one that wrote it.
  void Keep(int32_t block) { ++blocks_[block].keepers; }
  void LetGo(int32_t block) {
    if (--blocks_[block].keepers == 0 && blocks_[block].holders == 0) free_.push_back(block);
  }

 private:
  struct Block {
    int holders = 0;
    int keepers = 0;
  };
  std::vector<Block> blocks_;
  std::vector<int32_t> free_;
  int used_ = 0;
};

}  // namespace softsplice
