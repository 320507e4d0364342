// How many calls are where, outside of the engine.
#pragma once

#include <atomic>
#include <utility>

namespace softsplice {

// Thread-safe.
struct CallCounts {
  std::atomic<int> preparing = 0;  // being tokenised
  std::atomic<int> encoding = 0;   // media are with the encoders
  std::atomic<int> unread = 0;     // the engine is done, the client has not read all
};

// Counts a call in one place at a time, until it is destroyed. Not thread-safe.
class CountedCall {
 public:
  CountedCall() = default;
  CountedCall(const CountedCall&) = delete;
  CountedCall& operator=(const CountedCall&) = delete;
  ~CountedCall() { MoveTo(nullptr); }

  // Null: nowhere.
  void MoveTo(std::atomic<int>* place) {
    if (place_ != nullptr) --*place_;
    place_ = place;
    if (place_ != nullptr) ++*place_;
  }

 private:
  std::atomic<int>* place_ = nullptr;
};

}  // namespace softsplice
