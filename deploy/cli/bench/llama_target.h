// llama.cpp's server under load.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "deploy/cli/bench/target.h"
#include "deploy/cli/signals.h"

namespace softsplice::bench {

// Asks what Target::info tells. UNAVAILABLE: nothing answers at `url`, or it is not ready, or no
// llama-server; CANCELLED after a signal.
absl::StatusOr<std::unique_ptr<Target>> ConnectLlamaServer(const std::string& url,
                                                           const Interrupts& interrupts);

}  // namespace softsplice::bench
