// A waiting line in which requests take turns, however many places each of them holds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <list>
#include <optional>
#include <utility>

namespace softsplice {

// Not thread-safe. A request is known by its key; its own items stay in order.
template <class T>
class FairLine {
 public:
  void AddLast(const void* key, T item) { LaneOf(key)->items.push_back(std::move(item)); }
  // For one that has been served already, in vain: it is the next.
  void AddFirst(const void* key, T item) {
    const auto lane = LaneOf(key);
    lane->items.push_front(std::move(item));
    lanes_.splice(lanes_.begin(), lanes_, lane);
  }

  // The next one for which `fits` is true.
  template <class Fits>
  std::optional<T> Take(Fits&& fits) {
    for (auto lane = lanes_.begin(); lane != lanes_.end(); ++lane) {
      const auto found = std::find_if(lane->items.begin(), lane->items.end(), fits);
      if (found == lane->items.end()) continue;
      T item = std::move(*found);
      lane->items.erase(found);
      lanes_.splice(lanes_.end(), lanes_, lane);
      if (lane->items.empty()) lanes_.erase(lane);
      return item;
    }
    return std::nullopt;
  }

  template <class Drop>
  void RemoveIf(Drop&& drop) {
    for (Lane& lane : lanes_) std::erase_if(lane.items, drop);
    std::erase_if(lanes_, [](const Lane& lane) { return lane.items.empty(); });
  }

  size_t size() const {
    size_t size = 0;
    for (const Lane& lane : lanes_) size += lane.items.size();
    return size;
  }
  // How many are served until the last of `key` has been.
  size_t Place(const void* key) const {
    const auto own = std::find_if(lanes_.begin(), lanes_.end(),
                                  [&](const Lane& lane) { return lane.key == key; });
    if (own == lanes_.end()) return 0;
    size_t place = 0;
    for (const Lane& lane : lanes_) place += std::min(lane.items.size(), own->items.size());
    return place;
  }

 private:
  struct Lane {
    const void* key;
    std::deque<T> items;
  };

  auto LaneOf(const void* key) {
    const auto lane =
        std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& one) { return one.key == key; });
    return lane != lanes_.end() ? lane : lanes_.insert(lanes_.end(), Lane{.key = key});
  }

  std::list<Lane> lanes_;  // in the order of their turns
};

}  // namespace softsplice
