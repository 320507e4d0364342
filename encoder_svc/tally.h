// A total whose parts are given back when they are dropped.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace softsplice {

// Thread-safe; outlives its parts.
class Tally {
 public:
  // Not thread-safe.
  class Part {
   public:
    Part() = default;
    Part(Part&& other) noexcept { *this = std::move(other); }
    Part& operator=(Part&& other) noexcept {
      Part old(std::exchange(tally_, std::exchange(other.tally_, nullptr)),
               std::exchange(amount_, std::exchange(other.amount_, 0)));
      return *this;
    }
    ~Part() { ShrinkTo(0); }

    // Gives back what is more than `amount`.
    void ShrinkTo(uint64_t amount) {
      if (amount >= amount_) return;
      tally_->Subtract(std::exchange(amount_, amount) - amount);
    }

   private:
    friend class Tally;
    Part(Tally* tally, uint64_t amount) : tally_(tally), amount_(amount) {}

    Tally* tally_ = nullptr;
    uint64_t amount_ = 0;
  };

  Tally() = default;
  // `on_less` is called whenever something was given back, by whoever does it.
  explicit Tally(std::function<void()> on_less) : on_less_(std::move(on_less)) {}

  Part Add(uint64_t amount) {
    total_ += amount;
    return Part(this, amount);
  }
  uint64_t total() const { return total_; }

 private:
  void Subtract(uint64_t amount) {
    total_ -= amount;
    if (on_less_ != nullptr) on_less_();
  }

  std::atomic<uint64_t> total_ = 0;
  const std::function<void()> on_less_;
};

}  // namespace softsplice
