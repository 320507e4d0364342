// How fast a waiting line moves, measured while there is one.
#pragma once

#include <cstddef>
#include <optional>

#include "absl/time/time.h"

namespace softsplice {

// Not thread-safe. Times are SteadyNow()'s.
class Pace {
 public:
  // One was served; `others_wait`: the line is not empty now.
  void Served(absl::Duration now, bool others_wait) {
    if (last_.has_value()) {
      const absl::Duration span = now - *last_;
      each_ = each_ == absl::ZeroDuration() ? span : each_ + (span - each_) * kNewest;
    }
    last_ = others_wait ? std::optional(now) : std::nullopt;
  }
  // The line is empty: what comes next says nothing about how fast it moves.
  void Rest() { last_.reset(); }

  // Until the one in this place is served; zero as long as nothing was measured.
  absl::Duration Wait(size_t place) const { return each_ * static_cast<double>(place); }

 private:
  static constexpr double kNewest = 0.1;

  std::optional<absl::Duration> last_;
  absl::Duration each_ = absl::ZeroDuration();
};

}  // namespace softsplice
