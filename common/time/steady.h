// The clock for spans and limits: it goes on evenly when somebody sets the wall clock.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace softsplice {

// The time since a fixed moment before the process began. Thread-safe.
inline absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace softsplice
