// A map that forgets what has not been asked for lately.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace softsplice {

// Entries have sizes, each at most `most` / 2: all together never have more than `most`, and those
// used last stay until they have about half of it. Not thread-safe.
template <class Value>
class RecentMap {
 public:
  explicit RecentMap(size_t most) : most_(most) {}

  // Until the next call; null: not there.
  const Value* Find(absl::string_view key) {
    if (const auto found = recent_.find(key); found != recent_.end()) return &found->second.value;
    const auto old = older_.find(key);
    if (old == older_.end()) return nullptr;
    Entry again = old->second;
    return &Put(std::string(key), std::move(again.value), again.size);
  }
  const Value& Put(std::string key, Value value, size_t size = 1) {
    if (recent_size_ + size > most_ / 2) {
      older_ = std::exchange(recent_, {});
      recent_size_ = 0;
    }
    recent_size_ += size;
    const auto put = recent_.insert_or_assign(std::move(key), Entry{std::move(value), size});
    return put.first->second.value;
  }

 private:
  struct Entry {
    Value value;
    size_t size;
  };

  const size_t most_;
  absl::flat_hash_map<std::string, Entry> recent_, older_;  // half of the size each
  size_t recent_size_ = 0;                                  // what was put anew counts anew
};

}  // namespace softsplice
