// A service whose model is still on its way.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "common/server/signals.h"

namespace softsplice {

// Waits until the model at `path` (of a split file: all its parts) is there, for `limit` at most;
// whoever puts it there does so whole, by renaming it. True: it is, or nothing was to be waited for
// (a `limit` of zero), and loading says what it is like. False: a stop signal came. NOT_FOUND: what
// is still missing.
absl::StatusOr<bool> WaitForModel(const std::string& path, absl::Duration limit, StopSignal& stop,
                                  const Logger& logger);

}  // namespace softsplice
