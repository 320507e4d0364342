// A clock for spans and limits: nobody sets it, and it never goes back.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace softsplice {

// Since a start that is the same for the whole process.
inline absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace softsplice
