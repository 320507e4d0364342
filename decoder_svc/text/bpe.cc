#include "decoder_svc/text/bpe.h"

#include <functional>
#include <limits>
#include <queue>

#include "common/text/utf8.h"

namespace softsplice {
namespace {

constexpr uint32_t kNoMerge = std::numeric_limits<uint32_t>::max();
constexpr size_t kShort = 24;  // symbols up to which scanning beats the queue
constexpr char32_t kSpaceMark = 0x2581;

uint64_t PairKey(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

// The space mark and the space are the same character to us, the ASCII one.
char32_t Canonical(char32_t c) { return c == kSpaceMark ? U' ' : c; }

char32_t LastChar(absl::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return NextUtf8(text.substr(at)).code;
}

}  // namespace

size_t CharPairs::Slot(char32_t left, char32_t right) {
  const uint64_t key = (uint64_t{left} << 32) | right;
  return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> (64 - kBitsLog2));
}

void CharPairs::Add(char32_t left, char32_t right) {
  if (left < 128 && right < 128) {
    ascii_[left][right] = true;
    return;
  }
  const size_t slot = Slot(left, right);
  hashed_[slot / 64] |= uint64_t{1} << (slot % 64);
}

bool CharPairs::Contains(char32_t left, char32_t right) const {
  if (left < 128 && right < 128) return ascii_[left][right];
  const size_t slot = Slot(left, right);
  return (hashed_[slot / 64] >> (slot % 64)) & 1;
}

void Bpe::AddToken(absl::string_view text, int32_t id) {
  // A token spelled with a plain space can never be met: texts have the mark in its place.
  if (text.empty() || text == " ") return;
  const Utf8Char c = NextUtf8(text);
  if (c.state != Utf8::kValid || c.bytes != text.size()) return;
  const char32_t code = Canonical(c.code);
  chars_[code] = id;
  if (code < 128) ascii_[code] = id;
}

void Bpe::AddMerge(int32_t left, absl::string_view left_text, int32_t right,
                   absl::string_view right_text, Merge merge) {
  merges_[PairKey(left, right)] = merge;
  if (left_text.empty() || right_text.empty()) return;
  pairs_.Add(Canonical(LastChar(left_text)), Canonical(NextUtf8(right_text).code));
}

void Bpe::AddBytes(absl::string_view bytes, std::vector<int32_t>* word) const {
  bool all = true;
  for (const char c : bytes) all = all && byte_ids_[static_cast<uint8_t>(c)] >= 0;
  if (all) {
    for (const char c : bytes) word->push_back(byte_ids_[static_cast<uint8_t>(c)]);
  } else if (word->empty() || word->back() != unknown_) {
    word->push_back(unknown_);
  }
}

void Bpe::Encode(absl::string_view text, std::vector<int32_t>* out) const {
  std::vector<int32_t> word;
  char32_t previous = 0;
  while (!text.empty()) {
    const Utf8Char c = NextUtf8(text);
    const absl::string_view bytes = text.substr(0, c.bytes);
    text.remove_prefix(c.bytes);
    const char32_t code = Canonical(c.code);
    if (cut_ && !word.empty() && !pairs_.Contains(previous, code)) MergeWord(&word, out);
    previous = code;
    const int32_t id = c.state == Utf8::kValid ? FindChar(code) : -1;
    if (id >= 0) {
      word.push_back(id);
    } else {
      AddBytes(bytes, &word);
    }
  }
  MergeWord(&word, out);
}

int32_t Bpe::FindChar(char32_t c) const {
  if (c < 128) return ascii_[c];
  const auto found = chars_.find(c);
  return found == chars_.end() ? -1 : found->second;
}

const Bpe::Merge* Bpe::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::MergeWord(std::vector<int32_t>* word, std::vector<int32_t>* out) const {
  if (word->size() > kShort) {
    MergeLong(word);
  } else if (word->size() > 1) {
    MergeShort(word);
  }
  out->insert(out->end(), word->begin(), word->end());
  word->clear();
}

void Bpe::MergeShort(std::vector<int32_t>* word) const {
  std::vector<int32_t>& ids = *word;
  std::array<Merge, kShort> pairs;  // of ids[i] and ids[i + 1]
  size_t n = ids.size();
  const auto look_up = [&](size_t i) {
    const Merge* merge = FindMerge(ids[i], ids[i + 1]);
    pairs[i] = merge == nullptr ? Merge{kNoMerge, 0} : *merge;
  };
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoMerge) break;
    ids[best] = pairs[best].result;
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      ids[i] = ids[i + 1];
      pairs[i - 1] = pairs[i];
    }
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.resize(n);
}

void Bpe::MergeLong(std::vector<int32_t>* word) const {
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
    Merge pair;  // with the next symbol
  };
  const int32_t n = static_cast<int32_t>(word->size());
  std::vector<Symbol> symbols(word->size());
  // Rank above position, so that the smallest is the lowest rank, the leftmost first. An entry is
  // stale when its symbol has another pair by now.
  std::vector<uint64_t> entries;
  const auto look_up = [&](int32_t at) {
    Symbol& symbol = symbols[at];
    symbol.pair = {kNoMerge, 0};
    if (symbol.next == n) return false;
    const Merge* merge = FindMerge(symbol.id, symbols[symbol.next].id);
    if (merge != nullptr) symbol.pair = *merge;
    return merge != nullptr;
  };
  const auto entry = [&](int32_t at) {
    return (uint64_t{symbols[at].pair.rank} << 32) | static_cast<uint32_t>(at);
  };
  for (int32_t i = 0; i < n; ++i) symbols[i] = {(*word)[i], i - 1, i + 1, {}};
  for (int32_t i = 0; i < n; ++i) {
    if (look_up(i)) entries.push_back(entry(i));
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue(std::greater<>(),
                                                                             std::move(entries));
  while (!queue.empty()) {
    const uint64_t top = queue.top();
    queue.pop();
    const int32_t at = static_cast<int32_t>(top & 0xFFFFFFFFu);
    Symbol& left = symbols[at];
    if (left.pair.rank != top >> 32) continue;
    Symbol& right = symbols[left.next];
    left.id = left.pair.result;
    left.next = right.next;
    right.pair.rank = kNoMerge;
    if (left.next < n) symbols[left.next].previous = at;
    if (look_up(at)) queue.push(entry(at));
    if (left.previous >= 0 && look_up(left.previous)) queue.push(entry(left.previous));
  }
  word->clear();
  for (int32_t at = 0; at < n; at = symbols[at].next) word->push_back(symbols[at].id);
}

}  // namespace softsplice
