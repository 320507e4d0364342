// What the caches hold of prompts and answers of before, so that a prompt which begins like one of
// them is not read again.
//
// Of each scope a tree of blocks: a node's path from the root says what stands before it, as keys
// and values depend on that. A prompt may go on from any position L for which blocks of full layers
// cover [0, L) and such of sliding layers the window before L. Those are many times larger, so they
// stay only where a later prompt is likely to part from this one: at resume points.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "decoder_svc/kv/block_pool.h"
#include "decoder_svc/kv/content.h"
#include "decoder_svc/kv/kv_shape.h"
#include "decoder_svc/kv/recent_map.h"

namespace softsplice {

// Not thread-safe. `full`, `sliding` outlive it.
class PrefixTree {
 public:
  struct Node;
  // Of children no one's contents are the beginning of another's, so those that begin most alike
  // are neighbours.
  struct InOrder {
    using is_transparent = void;
    using Contents = absl::Span<const Content>;
    static Contents Of(const std::unique_ptr<Node>& node) { return node->contents; }
    static Contents Of(Contents contents) { return contents; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return Of(a) < Of(b);
    }
  };
  using Children = std::set<std::unique_ptr<Node>, InOrder>;

  // A block: a whole one, or the last one of what was read, which has no children.
  struct Node {
    Node* parent = nullptr;  // null: this is a scope's root, which has no block
    std::vector<Content> contents;
    uint64_t key = 0;  // of all that its path holds
    Children children;
    int32_t full = -1;
    int32_t sliding = -1;  // while resume points need it
    int sliding_rows = 0;  // so many positions, from the first one on, are in it
    int resume_points = 0;
    bool is_protected = false;
    std::list<Node*>::iterator place;  // in the order of use
    std::string scope;                 // of a root
  };

  // Where a prompt goes on.
  struct Hit {
    int cached = 0;           // positions that need not be read
    int known = 0;            // positions whose contents are in the tree
    std::vector<Node*> path;  // that hold them
    bool of_turn = false;     // it continues where an earlier prompt or answer ended
  };

  // Why positions of a prompt are read.
  struct Misses {
    int fresh = 0;    // nobody has read them
    int evicted = 0;  // whole blocks that were here once
    int window = 0;   // what the hit knows, and can't go on from
  };

  // Where a conversation goes on, or where prompts that begin alike part.
  enum class Resume : uint8_t { kTurn, kOther };

  PrefixTree(BlockPool& full, BlockPool& sliding, const KvShape& shape)
      : full_(full), sliding_(sliding), shape_(shape) {}

  // The longest hit of at most `most` positions.
  Hit Find(const std::string& scope, absl::Span<const Content> contents, int most) const;
  // Of the first `most` positions those after a hit.
  Misses WhyMissed(const std::string& scope, absl::Span<const Content> contents, int most,
                   const Hit& hit);
  // It is taken: what serves again stays longest.
  void Use(const Hit& hit);

  // Takes in the block after `parent` (null: the first one), which holds `contents` in both pools;
  // whoever wrote them will not write them anew. Returns the node that has them: it may be an older
  // one with another block. `goes_on`: what continues a turn stays as long as that.
  Node* Add(const std::string& scope, Node* parent, absl::Span<const Content> contents,
            int32_t full, int32_t sliding, bool goes_on);
  // Keeps the window before position `end`, which lies in or at the end of `last`. `sliding` gives
  // the sequence's blocks by index, -1 for those that it has not.
  void Keep(Node* last, int end, Resume kind, bool goes_on,
            absl::FunctionRef<int32_t(int index)> sliding);

  // Gives up what served longest ago until so many blocks of the pool are free, if that is
  // possible.
  bool FreeFull(int blocks);
  bool FreeSliding(int blocks);

  int nodes() const { return static_cast<int>(once_.size() + again_.size()); }
  int resume_points() const { return static_cast<int>(points_.size()); }
  int windows() const { return windows_; }  // sliding blocks that are kept
  int64_t evicted_blocks() const { return evicted_blocks_; }
  int64_t evicted_points() const { return evicted_points_; }

 private:
  struct Point {
    Node* last = nullptr;
    int end = 0;
    Resume kind = Resume::kTurn;
    std::vector<Node*> nodes;  // whose sliding blocks it needs, the last first
    uint64_t used = 0;
    bool is_protected = false;
  };

  // The child that begins most like `contents`, and for how many positions; null: none does.
  std::pair<Node*, int> Closest(const Node& parent, absl::Span<const Content> contents) const;
  int Index(const Node& node) const;  // of its block in a sequence
  Node* Root(const std::string& scope);
  void Protect(Node& node);
  void Touch(Node& node);  // as the most recently used one of its kind
  std::list<Node*>& Order(const Node& node) { return node.is_protected ? again_ : once_; }
  bool FreeSome(std::list<Node*>& order, int blocks);
  void Remove(Node& leaf);
  void LeaveTheNewest(const Node& last);
  void SetSliding(Node& node, int32_t block, int rows);  // -1: none
  void Drop(size_t point);
  void DropLeastUsed();

  BlockPool& full_;
  BlockPool& sliding_;
  const KvShape shape_;
  absl::flat_hash_map<std::string, std::unique_ptr<Node>> roots_;
  // Segmented LRU, the most recently used first: what was used once, and what was used again.
  std::list<Node*> once_, again_;
  std::vector<Point> points_;
  int windows_ = 0;
  RecentMap<std::monostate> evicted_{1 << 16};  // keys of whole blocks
  int64_t evicted_blocks_ = 0;
  int64_t evicted_points_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace softsplice
