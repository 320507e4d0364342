// Soft tokens of media that were encoded, by content digest.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "encoder_svc/encoder.h"

namespace softsplice {

// One medium's, as far as they have come.
struct MediumRows {
  std::optional<RecordingLayout> layout;  // of a sound
  std::vector<Values> runs;
};

// Gives up what was not looked up for the longest time, but never what is in use: what somebody
// outside holds of it is counted for as long. So its bytes are all the memory that rows in it take.
// Not thread-safe: all that hold rows take them under the lock that this is used under.
class RowsCache {
 public:
  // What an entry takes besides its rows.
  static constexpr uint64_t kEntryBytes = 1024;
  // One medium may take this part of it, so that one does not drive out all others.
  static constexpr uint64_t kShares = 4;

  // `capacity`: bytes; 0 keeps nothing.
  explicit RowsCache(uint64_t capacity) : capacity_(capacity) {}

  // Whether rows of so many bytes may be kept at all.
  bool Takes(uint64_t bytes) const { return bytes + kEntryBytes <= capacity_ / kShares; }
  // Keeps `rows`, which have or will come to have so many bytes. False: Takes() does not hold, or
  // all but too little is in use; nothing was given up then. The digest is not in here.
  bool Keep(const Digest& digest, std::shared_ptr<MediumRows> rows, uint64_t bytes);
  // Null: it is not here.
  std::shared_ptr<MediumRows> Find(const Digest& digest);
  void Drop(const Digest& digest);

  uint64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    Digest digest;
    std::shared_ptr<MediumRows> rows;
    uint64_t bytes = 0;
  };
  using Place = std::list<Entry>::iterator;
  static bool InUse(const Entry& entry);
  void Erase(Place place);

  const uint64_t capacity_;
  uint64_t bytes_ = 0;
  std::list<Entry> entries_;  // that which was looked up last is the first
  std::map<Digest, Place> places_;
};

}  // namespace softsplice
