// How far loading has come, in the log.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/log/log.h"

namespace softsplice {

// Every stage is told when it begins, and then how much of it is done, once in two seconds at most:
// what takes less is not worth a line. One call at a time.
class LoadLog {
 public:
  // `logger` outlives it.
  explicit LoadLog(const Logger& logger) : logger_(logger) {}
  void operator()(absl::string_view stage, int percent);

 private:
  const Logger& logger_;
  std::string stage_;
  absl::Duration told_;  // SteadyNow() then
};

}  // namespace softsplice
