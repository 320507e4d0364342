// Where a process is between its start and its end, as those see it who probe it.
#pragma once

#include <atomic>

namespace softsplice {

enum class Phase {
  kLoading,  // before it serves
  kReady,
  kStalled,   // it makes no progress
  kDraining,  // from the stop signal on
};

using LivePhase = std::atomic<Phase>;

}  // namespace softsplice
