// SIGTERM and SIGINT of a server's main program.
#pragma once

#include "absl/time/time.h"

namespace softsplice {

// From its creation on, a signal ends the process at once (exit code 128 + signal) until Arm(): a
// program that still loads has nothing to finish. After Arm() the first signal is only noted, a
// second one ends the process at once. At most one object at a time; made by the main thread.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void Arm();
  // Whether a signal came within `limit`.
  bool Wait(absl::Duration limit);
};

}  // namespace softsplice
