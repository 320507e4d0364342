// The signals of a server's main program.
#pragma once

#include "absl/time/time.h"

namespace softsplice {

// SIGTERM, SIGINT and SIGHUP (unless it is ignored, as under nohup). From the object's creation on,
// one of them ends the process at once (exit code 128 + signal) until Arm(): a program that still
// loads has nothing to finish. After Arm() the first is only noted, a second one ends the process
// at once, until Disarm(). SIGPIPE is ignored. At most one object at a time; made by the main
// thread, before all others.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  void Arm();
  // Whether a signal came since Arm().
  bool Disarm();
  // Whether a signal came within `limit`.
  bool Wait(absl::Duration limit);

  // Ends the process with `exit_code` if this object is still there after `limit`, whatever its
  // threads are doing.
  void ExitWithin(absl::Duration limit, int exit_code);
};

}  // namespace softsplice
