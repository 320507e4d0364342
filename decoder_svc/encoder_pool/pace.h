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
      each_ = Wait(1, now) == absl::ZeroDuration() ? span : each_ + (span - each_) * kNewest;
      measured_ = now;
    }
    last_ = others_wait ? std::optional(now) : std::nullopt;
  }
  // The line is empty: what comes next says nothing about how fast it moves.
  void Rest() { last_.reset(); }

  // Until the one in this place is served; zero if nothing was measured of late: who then turns
  // away because of another hour's line will never measure its own.
  absl::Duration Wait(size_t place, absl::Duration now) const {
    if (now - measured_ > kRemembered) return absl::ZeroDuration();
    return each_ * static_cast<double>(place);
  }

 private:
  static constexpr double kNewest = 0.1;
  static constexpr absl::Duration kRemembered = absl::Seconds(60);

  std::optional<absl::Duration> last_;
  absl::Duration each_ = absl::ZeroDuration();
  absl::Duration measured_ = -absl::InfiniteDuration();
};

}  // namespace softsplice
