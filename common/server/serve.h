// The rest of a server's main program, once it serves.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "common/server/phase.h"
#include "common/server/server.h"
#include "common/server/signals.h"

namespace softsplice {

// What a service's engine is like.
struct Vitality {
  absl::Status failure;  // not OK: it will never work again
  // SteadyNow() of its last sign of life; one that has nothing to do gives signs too. Without any
  // for two minutes it is taken to hang.
  absl::Duration heartbeat = absl::ZeroDuration();
};

struct ServeOptions {
  absl::Duration lame_duck = absl::ZeroDuration();
  absl::Duration drain = absl::Seconds(20);
  absl::Duration deaf = absl::Minutes(1);  // without an answer on the own address
};

// Keeps health and `phase` equal to `probe()`, which is asked every second and must not block;
// gives memory back when there is little to do. After a stop signal: says NOT_SERVING for
// `lame_duck`, then drains, and returns OK. A failed engine, or an address that answers nobody any
// more, ends the same way but at once, and with what happened; the process is gone within 5 s then.
// From its return on the process ends within 10 s in any case, unless `stop` goes first.
absl::Status ServeUntilStopped(Server& server, StopSignal& stop, LivePhase& phase,
                               const ServeOptions& options, const Logger& logger,
                               const std::function<Vitality()>& probe);

}  // namespace softsplice
