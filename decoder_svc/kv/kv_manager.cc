// See kv_manager.h.
#include "decoder_svc/kv/kv_manager.h"

#include <algorithm>
#include <utility>

namespace softsplice {
namespace {

// A later prompt may part from a long one anywhere: windows are kept this far from each other.
constexpr int kResumeEvery = 4096;

// The last row of a prompt is always read.
int LastOf(const KvRequest& request) { return static_cast<int>(request.prompt.size()) - 1; }

}  // namespace

KvManager::KvManager(const KvShape& shape)
    : shape_(shape),
      full_(shape.full_blocks),
      sliding_(shape.sliding_blocks),
      tree_(full_, sliding_, shape) {
  for (int slot = shape.slots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

PrefixTree::Hit KvManager::Find(const KvRequest& request) const {
  if (!request.shared) return {};
  return tree_.Find(request.scope, request.prompt, LastOf(request));
}

// Whole blocks are shared, of one that is used in part there is a copy: this sequence writes the
// rest of it.
std::optional<SequenceKv> KvManager::Admit(const KvRequest& request,
                                           std::vector<BlockCopy>& copies) {
  if (free_slots_.empty()) return std::nullopt;
  const PrefixTree::Hit hit = Find(request);
  const int whole = hit.cached / shape_.block_rows;
  for (int i = 0; i < whole; ++i) full_.Hold(hit.path[i]->full);
  const int more = BlocksFor(request.positions) - whole;
  if (more > Unpromised()) {
    for (int i = 0; i < whole; ++i) full_.Drop(hit.path[i]->full);
    return std::nullopt;
  }
  SequenceKv kv{.slot = free_slots_.back(),
                .cached = hit.cached,
                .scope = request.scope,
                .shared = request.shared,
                .goes_on = hit.of_turn,
                .added = whole,
                .promised = more};
  free_slots_.pop_back();
  promised_ += more;
  for (int i = 0; i < whole; ++i) kv.blocks.full.push_back(hit.path[i]->full);
  if (whole > 0) kv.last = hit.path[whole - 1];
  if (kv.shared) kv.missed = tree_.WhyMissed(kv.scope, request.prompt, LastOf(request), hit);
  tree_.Use(hit);
  ShareSliding(kv, hit, copies);
  if (hit.cached % shape_.block_rows > 0) {
    const int32_t source = hit.path[whole]->full;
    TakeFull(kv);  // and the end of the path may be gone
    copies.push_back({.sliding = false, .from = source, .to = kv.blocks.full[whole]});
  }
  const bool parts = hit.known < static_cast<int>(request.prompt.size());
  if (parts && hit.known - hit.cached >= shape_.block_rows) AddDeparture(kv, hit.known);
  Changed(kv);
  return kv;
}

void KvManager::CountMisses(const SequenceKv& kv) {
  counts_.missed_new += kv.missed.fresh;
  counts_.missed_evicted += kv.missed.evicted;
  counts_.missed_window += kv.missed.window;
}

CacheCounts KvManager::counts() const {
  CacheCounts counts = counts_;
  counts.evicted_blocks = tree_.evicted_blocks();
  counts.evicted_resume_points = tree_.evicted_points();
  counts.resume_points = tree_.resume_points();
  return counts;
}

bool KvManager::Promise(SequenceKv& kv, int positions) {
  const int more = BlocksFor(positions) - static_cast<int>(kv.blocks.full.size()) - kv.promised;
  if (more <= 0) return true;
  if (more > Unpromised()) return false;
  kv.promised += more;
  promised_ += more;
  return true;
}

void KvManager::ShareSliding(SequenceKv& kv, const PrefixTree::Hit& hit,
                             std::vector<BlockCopy>& copies) {
  kv.blocks.sliding.resize(shape_.sliding_per_slot);
  kv.first_sliding = kv.end_sliding = kv.added;
  const int seen = std::max(hit.cached - shape_.window, 0) / shape_.block_rows;
  while (kv.first_sliding > seen &&
         hit.path[kv.first_sliding - 1]->sliding_rows == shape_.block_rows) {
    const int index = --kv.first_sliding;
    sliding_.Hold(Sliding(kv, index) = hit.path[index]->sliding);
  }
  if (hit.cached % shape_.block_rows == 0) return;
  const int32_t source = hit.path[kv.added]->sliding;
  TakeSliding(kv);
  copies.push_back({.sliding = true, .from = source, .to = Sliding(kv, kv.added)});
}

void KvManager::TakeFull(SequenceKv& kv) {
  tree_.FreeFull(1);
  kv.blocks.full.push_back(full_.Take());
  --kv.promised;
  --promised_;
  Changed(kv);
}

void KvManager::TakeSliding(SequenceKv& kv) {
  tree_.FreeSliding(1);
  Sliding(kv, kv.end_sliding++) = sliding_.Take();
  Changed(kv);
}

void KvManager::Extend(SequenceKv& kv, int read, int rows) {
  const int blocks = BlocksFor(read + rows);
  while (static_cast<int>(kv.blocks.full.size()) < blocks) TakeFull(kv);
  while (kv.end_sliding < blocks) TakeSliding(kv);
}

void KvManager::Commit(SequenceKv& kv, absl::Span<const Content> contents, int rows) {
  const int read = static_cast<int>(contents.size());
  if (kv.shared) {
    AddWholeBlocks(kv, contents);
    std::erase_if(kv.departures, [&](int position) {
      if (position > read) return false;
      if (position > read - rows) KeepWindow(kv, contents, position, PrefixTree::Resume::kOther);
      return true;
    });
    const int multiple = read / kResumeEvery * kResumeEvery;
    if (multiple > read - rows) KeepWindow(kv, contents, multiple, PrefixTree::Resume::kOther);
  }
  for (; (kv.first_sliding + 1) * shape_.block_rows <= read - shape_.window; ++kv.first_sliding) {
    sliding_.Drop(Sliding(kv, kv.first_sliding));
  }
}

void KvManager::EndTurn(SequenceKv& kv, absl::Span<const Content> contents) {
  if (!kv.shared || contents.empty()) return;
  KeepWindow(kv, contents, static_cast<int>(contents.size()), PrefixTree::Resume::kTurn);
}

// What goes on from a turn's end, and by way of this one, is still that conversation.
void KvManager::EndPart(SequenceKv& kv, absl::Span<const Content> contents) {
  if (!kv.shared || contents.empty()) return;
  KeepWindow(kv, contents, static_cast<int>(contents.size()),
             kv.goes_on ? PrefixTree::Resume::kTurn : PrefixTree::Resume::kOther);
}

// Where another sequence has read the same meanwhile, its block serves both.
void KvManager::AddWholeBlocks(SequenceKv& kv, absl::Span<const Content> contents) {
  for (; (kv.added + 1) * shape_.block_rows <= static_cast<int>(contents.size()); ++kv.added) {
    int32_t& block = kv.blocks.full[kv.added];
    kv.last = tree_.Add(kv.scope, kv.last,
                        contents.subspan(kv.added * shape_.block_rows, shape_.block_rows), block,
                        Sliding(kv, kv.added), kv.goes_on);
    if (kv.last->full == block) continue;
    full_.Hold(kv.last->full);
    full_.Drop(std::exchange(block, kv.last->full));
    Changed(kv);
  }
}

void KvManager::KeepWindow(SequenceKv& kv, absl::Span<const Content> contents, int end,
                           PrefixTree::Resume kind) {
  PrefixTree::Node* node = kv.last;
  const int whole = kv.added * shape_.block_rows;
  if (end > whole) {
    node = tree_.Add(kv.scope, kv.last, contents.subspan(whole), kv.blocks.full[kv.added],
                     Sliding(kv, kv.added), kv.goes_on);
  }
  for (int begin = whole - shape_.block_rows; begin >= end; begin -= shape_.block_rows) {
    node = node->parent;
  }
  tree_.Keep(node, end, kind, kv.goes_on, [&](int index) {
    return index >= kv.first_sliding && index < kv.end_sliding ? Sliding(kv, index) : -1;
  });
}

void KvManager::Release(SequenceKv& kv) {
  for (const int32_t block : kv.blocks.full) full_.Drop(block);
  for (int i = kv.first_sliding; i < kv.end_sliding; ++i) sliding_.Drop(Sliding(kv, i));
  promised_ -= kv.promised;
  free_slots_.push_back(kv.slot);
}

}  // namespace softsplice
