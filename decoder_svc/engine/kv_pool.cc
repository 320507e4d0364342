// See kv_pool.h.
#include "decoder_svc/engine/kv_pool.h"

#include <algorithm>

namespace softsplice {
namespace {

// Long enough that attention reads long runs, short enough that a short sequence wastes little.
constexpr int kBlockRows = 128;

int BlocksFor(int positions, int block_rows) { return (positions + block_rows - 1) / block_rows; }

}  // namespace

KvPool::Shape KvPool::ShapeFor(int sequences, int context_length, int window, int chunk) {
  // The first row of a chunk still sees window - 1 positions before it when the last row is stored.
  const int ring = std::min(context_length, window + chunk - 1);
  const int per_slot = BlocksFor(context_length, kBlockRows);
  return {.block_rows = kBlockRows,
          .slots = sequences,
          .full_blocks = sequences * per_slot,
          .blocks_per_slot = per_slot,
          .ring_blocks = BlocksFor(ring, kBlockRows)};
}

KvPool::KvPool(const Shape& shape) : shape_(shape), full_(shape.slots), ring_(shape.slots) {
  for (int i = shape.full_blocks - 1; i >= 0; --i) free_blocks_.push_back(i);
  for (int slot = shape.slots - 1; slot >= 0; --slot) {
    free_slots_.push_back(slot);
    full_[slot].reserve(shape.blocks_per_slot);
    for (int i = 0; i < shape.ring_blocks; ++i) {
      ring_[slot].push_back(slot * shape.ring_blocks + i);
    }
  }
}

std::optional<int> KvPool::Reserve(int positions) {
  const size_t needed = BlocksFor(positions, shape_.block_rows);
  if (free_slots_.empty() || free_blocks_.size() < needed) return std::nullopt;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  full_[slot].assign(free_blocks_.rbegin(), free_blocks_.rbegin() + needed);
  free_blocks_.resize(free_blocks_.size() - needed);
  ++changes_;
  return slot;
}

void KvPool::Release(int slot) {
  free_blocks_.insert(free_blocks_.end(), full_[slot].rbegin(), full_[slot].rend());
  full_[slot].clear();
  free_slots_.push_back(slot);
}

}  // namespace softsplice
