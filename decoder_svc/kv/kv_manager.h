// The keys and values of running sequences, and what stays of them for later ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "decoder_svc/kv/block_pool.h"
#include "decoder_svc/kv/cache_counts.h"
#include "decoder_svc/kv/content.h"
#include "decoder_svc/kv/kv_shape.h"
#include "decoder_svc/kv/prefix_tree.h"

namespace softsplice {

// Where a sequence's positions lie: of position p, full layers have it in full[p / block_rows],
// sliding ones in sliding[p / block_rows mod its size].
struct BlockTable {
  std::vector<int32_t> full, sliding;
  uint64_t version = 0;  // another one for each change, of any table
};

// One block to copy to another, in all layers of its pool.
struct BlockCopy {
  bool sliding = false;
  int32_t from = 0;
  int32_t to = 0;
};

// What a sequence holds. Only KvManager changes it.
struct SequenceKv {
  int slot = 0;
  int cached = 0;  // positions of the prompt that need not be read
  BlockTable blocks;

  std::string scope;
  bool shared = false;               // with later prompts
  bool goes_on = false;              // from a turn of before
  PrefixTree::Node* last = nullptr;  // of its last whole block in the tree
  int added = 0;                     // whole blocks in the tree
  int promised = 0;                  // full blocks that it may still take
  int first_sliding = 0;             // index of the first sliding block that it holds
  int end_sliding = 0;               // and after the last one
  PrefixTree::Misses missed;         // of its prompt, when it was admitted
  std::vector<int> departures;       // where others' prompts part from this one, not read yet
};

// What a sequence wants.
struct KvRequest {
  std::string scope;  // it shares with those of the same scope
  bool shared = true;
  absl::Span<const Content> prompt;
  int positions = 0;  // of prompt and answer, that there is to be room for
};

// Not thread-safe. Free, kept and held blocks are all there are: a running sequence has what it was
// promised, and nothing that one holds is given to another.
class KvManager {
 public:
  explicit KvManager(const KvShape& shape);
  KvManager(const KvManager&) = delete;
  KvManager& operator=(const KvManager&) = delete;

  const KvShape& shape() const { return shape_; }
  // Positions of such a prompt that would not be read, were it admitted now.
  int Cached(const KvRequest& request) const { return Find(request).cached; }
  // A slot, and the promise of full blocks for all positions: what the tree keeps goes only when
  // one is taken. None if there are not enough now. The last row of a prompt is always read.
  // `copies` get what must be copied, in order, before the next step.
  std::optional<SequenceKv> Admit(const KvRequest& request, std::vector<BlockCopy>& copies);
  // Promises full blocks for so many positions, in all. False: there are not enough now.
  bool Promise(SequenceKv& kv, int positions);
  // What a newcomer's prompt missed is counted, if it comes for the first time.
  void CountMisses(const SequenceKv& kv);
  // Another prompt parts from this sequence's at `position`, which is not read yet.
  void AddDeparture(SequenceKv& kv, int position) { kv.departures.push_back(position); }

  // Blocks for `rows` more, after `read` positions; they are promised.
  void Extend(SequenceKv& kv, int read, int rows);
  // All of `contents` is read now, the last `rows` in this step.
  void Commit(SequenceKv& kv, absl::Span<const Content> contents, int rows);
  // A later prompt, or this sequence itself when it comes back, may go on from the end of
  // `contents`, which is all that is read.
  void EndTurn(SequenceKv& kv, absl::Span<const Content> contents);
  // The rest of the prompt comes later, from whoever goes on from here.
  void EndPart(SequenceKv& kv, absl::Span<const Content> contents);
  void Release(SequenceKv& kv);

  const BlockPool& full() const { return full_; }
  const BlockPool& sliding() const { return sliding_; }
  int slots_used() const { return shape_.slots - static_cast<int>(free_slots_.size()); }
  const PrefixTree& tree() const { return tree_; }
  CacheCounts counts() const;

 private:
  int BlocksFor(int positions) const {
    return (positions + shape_.block_rows - 1) / shape_.block_rows;
  }
  int32_t& Sliding(SequenceKv& kv, int index) const {
    return kv.blocks.sliding[static_cast<size_t>(index) % kv.blocks.sliding.size()];
  }
  int Unpromised() const { return full_.size() - full_.used() - promised_; }
  PrefixTree::Hit Find(const KvRequest& request) const;
  void ShareSliding(SequenceKv& kv, const PrefixTree::Hit& hit, std::vector<BlockCopy>& copies);
  void TakeFull(SequenceKv& kv);     // the next one
  void TakeSliding(SequenceKv& kv);  // the next one
  void AddWholeBlocks(SequenceKv& kv, absl::Span<const Content> contents);
  void KeepWindow(SequenceKv& kv, absl::Span<const Content> contents, int end,
                  PrefixTree::Resume kind);
  void Changed(SequenceKv& kv) { kv.blocks.version = ++changes_; }

  const KvShape shape_;
  BlockPool full_, sliding_;
  PrefixTree tree_;
  std::vector<int> free_slots_;
  int promised_ = 0;  // to all sequences
  uint64_t changes_ = 0;
  CacheCounts counts_;  // the tree knows the rest
};

}  // namespace softsplice
