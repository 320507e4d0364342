// Byte-pair merging over a vocabulary: the inner loop of the tokenizer.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace softsplice {

// The pairs of adjacent characters that some merge could bring together. A text may be cut between
// all others without changing its tokens, which keeps merging within words. May say yes too often.
class CharPairs {
 public:
  CharPairs() : hashed_(kBits / 64) {}
  void Add(char32_t left, char32_t right);
  bool Contains(char32_t left, char32_t right) const;

 private:
  static constexpr int kBitsLog2 = 22;
  static constexpr size_t kBits = size_t{1} << kBitsLog2;
  static size_t Slot(char32_t left, char32_t right);

  std::array<std::array<bool, 128>, 128> ascii_ = {};
  std::vector<uint64_t> hashed_;  // one bit per slot
};

// Merges as Hugging Face's BPE does: a text starts as its characters (those that are no token as
// their bytes), then the pair with the lowest rank is merged, the leftmost first, until no pair is
// left. A space is read as U+2581. Thread-safe once filled.
class Bpe {
 public:
  struct Merge {
    uint32_t rank = 0;
    int32_t result = 0;
  };

  Bpe() {
    byte_ids_.fill(-1);
    ascii_.fill(-1);
  }

  void Reserve(size_t merges) { merges_.reserve(merges); }
  // `text` is the token's spelling; those of one character are what a text starts from.
  void AddToken(absl::string_view text, int32_t id);
  void SetByte(uint8_t byte, int32_t id) { byte_ids_[byte] = id; }
  // What a byte without a token becomes; several in a row become one.
  void SetUnknown(int32_t id) { unknown_ = id; }
  // `left_text` and `right_text` are the spellings. A pair that comes again takes the later rank.
  void AddMerge(int32_t left, absl::string_view left_text, int32_t right,
                absl::string_view right_text, Merge merge);
  // Call it when a merge takes byte tokens: their spelling is not what they stand for, so texts are
  // no longer cut into words.
  void DisableCuts() { cut_ = false; }

  // Appends the tokens of `text`. Bytes that are not UTF-8 become byte tokens.
  void Encode(absl::string_view text, std::vector<int32_t>* out) const;

 private:
  void AddBytes(absl::string_view bytes, std::vector<int32_t>* word) const;
  // The token of one character, -1 if there is none.
  int32_t FindChar(char32_t c) const;
  const Merge* FindMerge(int32_t left, int32_t right) const;
  // Merge `word`; by scanning (quadratic, fast for few) or with a queue (n log n).
  void MergeWord(std::vector<int32_t>* word, std::vector<int32_t>* out) const;
  void MergeShort(std::vector<int32_t>* word) const;
  void MergeLong(std::vector<int32_t>* word) const;

  absl::flat_hash_map<uint64_t, Merge> merges_;
  absl::flat_hash_map<char32_t, int32_t> chars_;
  std::array<int32_t, 128> ascii_;  // of chars_, for speed
  std::array<int32_t, 256> byte_ids_;
  int32_t unknown_ = -1;
  CharPairs pairs_;
  bool cut_ = true;
};

}  // namespace softsplice
