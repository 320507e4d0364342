// A map that forgets what has not been asked for lately.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace softsplice {

// Keeps at least the `most` / 2 entries used last, and never more than `most`. Not thread-safe.
template <class Value>
class RecentMap {
 public:
  explicit RecentMap(size_t most) : most_(most) {}

  // Until the next call; null: not there.
  const Value* Find(absl::string_view key) {
    if (const auto found = recent_.find(key); found != recent_.end()) return &found->second;
    const auto old = older_.find(key);
    return old == older_.end() ? nullptr : &Put(std::string(key), Value(old->second));
  }
  const Value& Put(std::string key, Value value) {
    if (recent_.size() >= most_ / 2) older_ = std::exchange(recent_, {});
    return recent_.insert_or_assign(std::move(key), std::move(value)).first->second;
  }

 private:
  const size_t most_;
  absl::flat_hash_map<std::string, Value> recent_, older_;  // half of the entries each
};

}  // namespace softsplice
