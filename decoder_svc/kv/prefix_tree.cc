// See prefix_tree.h.
#include "decoder_svc/kv/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/hash/hash.h"

namespace softsplice {
namespace {

// Of siblings that begin alike so many are looked at for one whose window is kept.
constexpr int kSiblings = 64;

int Alike(absl::Span<const Content> a, absl::Span<const Content> b) {
  return static_cast<int>(absl::c_mismatch(a, b).first - a.begin());
}

// Of what a path holds, by what its last block's parent holds.
uint64_t KeyOf(uint64_t before, absl::Span<const Content> block) {
  return absl::HashOf(before, block);
}
uint64_t KeyOfRoot(const std::string& scope) { return absl::HashOf(scope); }
absl::string_view Bytes(const uint64_t& key) {
  return {reinterpret_cast<const char*>(&key), sizeof key};
}

// The part of all that used-again content may fill.
int MostProtected(int all) { return all / 5 * 4; }

}  // namespace

int PrefixTree::Index(const Node& node) const {
  int index = -1;
  for (const Node* at = &node; at->parent != nullptr; at = at->parent) ++index;
  return index;
}

std::pair<PrefixTree::Node*, int> PrefixTree::Closest(const Node& parent,
                                                      absl::Span<const Content> contents) const {
  const Children& children = parent.children;
  const auto at = children.lower_bound(contents);
  Node* best = nullptr;
  int most = 0;
  const auto look = [&](const std::unique_ptr<Node>& child) {
    const int alike = Alike(child->contents, contents);
    const bool better = alike > most || (alike == most && best != nullptr &&
                                         best->sliding_rows < child->sliding_rows);
    if (alike > 0 && better) best = child.get();
    most = std::max(most, alike);
    return alike > 0 && alike == most;
  };
  int looked = 0;
  for (auto it = at; it != children.end() && look(*it) && ++looked < kSiblings;) ++it;
  looked = 0;
  for (auto it = at; it != children.begin() && look(*--it) && ++looked < kSiblings;) continue;
  return {best, most};
}

PrefixTree::Hit PrefixTree::Find(const std::string& scope, absl::Span<const Content> contents,
                                 int most) const {
  Hit hit;
  const auto root = roots_.find(scope);
  if (root == roots_.end()) return hit;
  for (const Node* node = root->second.get();;) {
    const auto rest = contents.subspan(hit.known, shape_.block_rows);
    const auto [child, alike] = Closest(*node, rest);
    if (child == nullptr) break;
    hit.path.push_back(child);
    hit.known += alike;
    if (alike < shape_.block_rows) break;
    node = child;
  }
  // The last run of kept windows that is long enough.
  const int seen = shape_.window - KvShape::kTemplateTail;
  for (int last = static_cast<int>(hit.path.size()) - 1; last >= 0; --last) {
    const int rows = hit.path[last]->sliding_rows;
    const int end = std::min({hit.known, most, last * shape_.block_rows + rows});
    if (end <= last * shape_.block_rows) continue;
    int first = last;
    while (first > 0 && hit.path[first - 1]->sliding_rows == shape_.block_rows) --first;
    if (first == 0 || end - seen >= first * shape_.block_rows) {
      hit.cached = end;
      break;
    }
    last = first;
  }
  hit.of_turn = absl::c_any_of(points_, [&](const Point& point) {
    return point.kind == Resume::kTurn && hit.cached <= point.end &&
           hit.cached + KvShape::kTemplateTail >= point.end && hit.cached > 0 &&
           hit.path[(hit.cached - 1) / shape_.block_rows] == point.last;
  });
  return hit;
}

PrefixTree::Misses PrefixTree::WhyMissed(const std::string& scope,
                                         absl::Span<const Content> contents, int most,
                                         const Hit& hit) {
  const int known = std::min(hit.known, most), rows = shape_.block_rows;
  Misses misses{.window = known - hit.cached};
  int end = known / rows * rows;
  uint64_t key = end == 0 ? KeyOfRoot(scope) : hit.path[end / rows - 1]->key;
  for (; end + rows <= most; end += rows) {
    key = KeyOf(key, contents.subspan(end, rows));
    if (evicted_.Find(Bytes(key)) == nullptr) break;
  }
  misses.evicted = std::max(end - known, 0);
  misses.fresh = most - known - misses.evicted;
  return misses;
}

void PrefixTree::Use(const Hit& hit) {
  if (hit.cached == 0) return;
  const int nodes = (hit.cached + shape_.block_rows - 1) / shape_.block_rows;
  for (int i = nodes - 1; i >= 0; --i) {
    Protect(*hit.path[i]);
    Touch(*hit.path[i]);
  }
  Node* const last = hit.path[nodes - 1];
  ++clock_;
  for (Point& point : points_) {
    if (point.end < hit.cached || !absl::c_linear_search(point.nodes, last)) continue;
    point.used = clock_;
    point.is_protected = true;
  }
}

void PrefixTree::Protect(Node& node) {
  if (node.is_protected) return;
  again_.splice(again_.begin(), once_, node.place);
  node.is_protected = true;
  if (static_cast<int>(again_.size()) <= MostProtected(full_.size())) return;
  again_.back()->is_protected = false;
  once_.splice(once_.begin(), again_, std::prev(again_.end()));
}

void PrefixTree::Touch(Node& node) {
  std::list<Node*>& order = Order(node);
  order.splice(order.begin(), order, node.place);
}

PrefixTree::Node* PrefixTree::Root(const std::string& scope) {
  std::unique_ptr<Node>& root = roots_[scope];
  if (root == nullptr) {
    root = std::make_unique<Node>();
    root->scope = scope;
    root->key = KeyOfRoot(scope);
  }
  return root.get();
}

PrefixTree::Node* PrefixTree::Add(const std::string& scope, Node* parent,
                                  absl::Span<const Content> contents, int32_t full, int32_t sliding,
                                  bool goes_on) {
  if (parent == nullptr) parent = Root(scope);
  const auto [closest, alike] = Closest(*parent, contents);
  if (alike == static_cast<int>(contents.size())) return closest;
  std::unique_ptr<Node> node;
  if (closest != nullptr && alike == static_cast<int>(closest->contents.size())) {
    // It grows: the block that has more takes the place of the one that has less.
    node = std::move(parent->children.extract(parent->children.find(closest->contents)).value());
    full_.LetGo(node->full);
    if (node->sliding >= 0) SetSliding(*node, sliding, static_cast<int>(contents.size()));
  } else {
    node = std::make_unique<Node>();
    node->parent = parent;
    node->place = once_.insert(once_.begin(), node.get());
  }
  node->contents.assign(contents.begin(), contents.end());
  node->key = KeyOf(parent->key, contents);
  node->full = full;
  full_.Keep(full);
  Node* const added = parent->children.insert(std::move(node)).first->get();
  if (goes_on) Protect(*added);
  return added;
}

void PrefixTree::Keep(Node* last, int end, Resume kind, bool goes_on,
                      absl::FunctionRef<int32_t(int index)> sliding) {
  ++clock_;
  const auto same = absl::c_find_if(
      points_, [&](const Point& point) { return point.last == last && point.end == end; });
  if (same != points_.end()) {
    same->used = clock_;
    if (kind == Resume::kTurn) same->kind = kind;
    return;
  }
  Point point{.last = last, .end = end, .kind = kind, .used = clock_, .is_protected = goes_on};
  const int first = std::max(end - shape_.window, 0) / shape_.block_rows;
  Node* node = last;
  for (int index = Index(*last); index >= first; --index, node = node->parent) {
    const int rows = std::min(end - index * shape_.block_rows, shape_.block_rows);
    if (node->sliding_rows < rows) {
      const int32_t block = sliding(index);
      if (block < 0) break;
      SetSliding(*node, block, rows);
    }
    ++node->resume_points;
    point.nodes.push_back(node);
  }
  if (point.nodes.empty()) return;
  points_.push_back(std::move(point));
  if (kind == Resume::kTurn) LeaveTheNewest(*last);
  while (static_cast<int>(points_.size()) > shape_.resume_points) DropLeastUsed();
}

// Of the turns of a conversation the next prompt goes on from one of the last two, if it was not
// cut back: older ones are the first to go.
void PrefixTree::LeaveTheNewest(const Node& last) {
  std::vector<Point*> of_path;
  for (Point& point : points_) {
    if (point.kind != Resume::kTurn) continue;
    for (const Node* node = &last; node != nullptr; node = node->parent) {
      if (node == point.last) of_path.push_back(&point);
    }
  }
  absl::c_sort(of_path, [](const Point* a, const Point* b) { return a->end > b->end; });
  for (size_t i = 2; i < of_path.size(); ++i) {
    of_path[i]->is_protected = false;
    of_path[i]->used = 0;
  }
}

void PrefixTree::SetSliding(Node& node, int32_t block, int rows) {
  windows_ += (block >= 0 ? 1 : 0) - (node.sliding >= 0 ? 1 : 0);
  if (node.sliding >= 0) sliding_.LetGo(node.sliding);
  if (block >= 0) sliding_.Keep(block);
  node.sliding = block;
  node.sliding_rows = rows;
}

void PrefixTree::Drop(size_t point) {
  for (Node* node : points_[point].nodes) {
    if (--node->resume_points == 0) SetSliding(*node, -1, 0);
  }
  points_.erase(points_.begin() + static_cast<ptrdiff_t>(point));
  ++evicted_points_;
}

void PrefixTree::DropLeastUsed() {
  const auto rank = [](const Point& point) { return std::pair(point.is_protected, point.used); };
  // As with blocks, what was used again may not fill all.
  std::vector<Point*> again;
  for (Point& point : points_) {
    if (point.is_protected) again.push_back(&point);
  }
  if (static_cast<int>(again.size()) > MostProtected(shape_.resume_points)) {
    (*absl::c_min_element(again, [](const Point* a, const Point* b) {
      return a->used < b->used;
    }))->is_protected = false;
  }
  Drop(static_cast<size_t>(
      absl::c_min_element(points_,
                          [&](const Point& a, const Point& b) { return rank(a) < rank(b); }) -
      points_.begin()));
}

bool PrefixTree::FreeSliding(int blocks) {
  while (sliding_.free() < blocks && !points_.empty()) DropLeastUsed();
  return sliding_.free() >= blocks;
}

bool PrefixTree::FreeFull(int blocks) {
  while (full_.free() < blocks) {
    if (!FreeSome(once_, blocks) && !FreeSome(again_, blocks)) return false;
  }
  return true;
}

// Once through the order, the least recently used ones first. Returns whether any could go.
bool PrefixTree::FreeSome(std::list<Node*>& order, int blocks) {
  bool any = false;
  for (auto it = order.end(); it != order.begin() && full_.free() < blocks;) {
    Node& node = **--it;
    if (!node.children.empty() || full_.holders(node.full) > 0) continue;
    ++it;  // what is after the node stays
    Remove(node);
    any = true;
  }
  return any;
}

void PrefixTree::Remove(Node& leaf) {
  for (size_t i = points_.size(); i-- > 0;) {
    if (points_[i].last == &leaf) Drop(i);
  }
  if (static_cast<int>(leaf.contents.size()) == shape_.block_rows) {
    evicted_.Put(std::string(Bytes(leaf.key)), {});
  }
  ++evicted_blocks_;
  full_.LetGo(leaf.full);
  Order(leaf).erase(leaf.place);
  Node* const parent = leaf.parent;
  parent->children.erase(parent->children.find(leaf.contents));
  if (parent->parent == nullptr && parent->children.empty()) roots_.erase(parent->scope);
}

}  // namespace softsplice
