// How far the loading of a model has come, for those who wait for it.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

#include "absl/strings/string_view.h"

namespace softsplice {

// `stage`: "weights", which are packed, or "first pass", by which the model is tried; with the
// percent of it that are done. Called on the loading threads, by one at a time.
using OnLoad = std::function<void(absl::string_view stage, int percent)>;

// Loaders tell a backend each tensor that it packed, by its bytes in the file, for whoever listens.
class LoadReports {
 public:
  void Listen(std::function<void(uint64_t bytes)> on_packed) { on_packed_ = std::move(on_packed); }
  void Packed(uint64_t bytes) const { on_packed_(bytes); }

 private:
  std::function<void(uint64_t bytes)> on_packed_ = [](uint64_t) {};
};

// Tells each whole percent of the weights once. Thread-safe.
class WeightProgress {
 public:
  // `total`: bytes of tensors in the file, as often as they are packed; 0: nobody knows, and
  // nothing is told.
  WeightProgress(uint64_t total, OnLoad tell) : total_(total), tell_(std::move(tell)) {}

  void Add(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (total_ == 0 || done_ > total_) return;
    const int percent = static_cast<int>(100 * done_ / total_);
    if (percent > told_) tell_("weights", told_ = percent);
  }

 private:
  const uint64_t total_;
  const OnLoad tell_;
  std::mutex mutex_;
  uint64_t done_ = 0;
  int told_ = 0;
};

}  // namespace softsplice
