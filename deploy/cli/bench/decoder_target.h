// A decoder under load.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "deploy/cli/access.h"
#include "deploy/cli/bench/target.h"
#include "deploy/cli/signals.h"

namespace softsplice::bench {

// Connects, and asks what Target::info tells. The error is the first call's that failed:
// UNAVAILABLE if nothing answers, CANCELLED after a signal. `interrupts` is borrowed. `sessions`:
// each conversation gets one.
absl::StatusOr<std::unique_ptr<Target>> ConnectDecoder(const std::string& address,
                                                       const Access& access, bool sessions,
                                                       Interrupts& interrupts);

}  // namespace softsplice::bench
