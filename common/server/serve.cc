#include "common/server/serve.h"

#include <malloc.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/flags.h"
#include "common/server/gate.h"
#include "common/server/process_metrics.h"
#include "common/server/self_check.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

// A step of an engine takes seconds at most.
constexpr absl::Duration kStalled = absl::Minutes(2);
// What running calls get when there is nothing to wait for.
constexpr absl::Duration kShortDrain = absl::Seconds(2);
// For all threads to end, and the last log lines to go. A failed engine's may never end.
constexpr absl::Duration kFarewell = absl::Seconds(10);
constexpr absl::Duration kShortFarewell = absl::Seconds(2);

// Gives freed memory back to the system: a burst would keep it for ever.
class Trimmer {
 public:
  // About once a second.
  void Look(const Border& border) {
    idle_ = border.live_calls() == 0 && border.live_bytes() == 0 ? idle_ + 1 : 0;
    if (idle_ < kIdleLooks || ResidentBytes() < trimmed_ + kWorthwhile) return;
    malloc_trim(0);
    trimmed_ = ResidentBytes();
  }

 private:
  static constexpr int kIdleLooks = 3;
  static constexpr uint64_t kWorthwhile = 16 << 20;

  int idle_ = 0;
  uint64_t trimmed_ = 0;  // what was left the last time
};

// Looks after a server that runs.
class Watch {
 public:
  Watch(Server& server, LivePhase& phase, const Logger& logger,
        const std::function<Vitality()>& probe)
      : server_(server), phase_(phase), logger_(logger), probe_(probe) {}

  // About once a second. Not OK: the server is of no use any more.
  absl::Status Look() {
    const Vitality vitality = probe_();
    if (!vitality.failure.ok()) return vitality.failure;
    SetAlive(SteadyNow() - vitality.heartbeat < kStalled);
    server_.health().EndSlowCalls();
    if (Gate* gate = server_.border().gate()) gate->Look();
    TellRefused();
    trimmer_.Look(server_.border());
    return absl::OkStatus();
  }

 private:
  void SetAlive(bool alive) {
    if (alive == alive_) return;
    alive_ = alive;
    phase_ = alive ? Phase::kReady : Phase::kStalled;
    server_.health().SetAlive(alive);
    server_.health().SetServing(alive);
    logger_.Log(alive ? LogLevel::kInfo : LogLevel::kError,
                alive ? "makes progress again" : "makes no progress");
  }

  void TellRefused() {
    const uint64_t refused = server_.listener().refused();
    if (refused == refused_) return;
    logger_.Log(LogLevel::kWarning, "connections refused",
                {{"count", static_cast<int64_t>(refused - refused_)},
                 {"limit", static_cast<int64_t>(server_.listener().max_connections())}});
    refused_ = refused;
  }

  Server& server_;
  LivePhase& phase_;
  const Logger& logger_;
  const std::function<Vitality()>& probe_;
  Trimmer trimmer_;
  bool alive_ = true;
  uint64_t refused_ = 0;
};

// OK: a stop signal came.
absl::Status WaitForEnd(Server& server, StopSignal& stop, LivePhase& phase,
                        const ServeOptions& options, const Logger& logger,
                        const std::function<Vitality()>& probe) {
  const SelfCheck self_check(server, options.deaf);
  Watch watch(server, phase, logger, probe);
  while (!stop.Wait(absl::Seconds(1))) {
    absl::Status status = watch.Look();
    status.Update(self_check.status());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ServeUntilStopped(Server& server, StopSignal& stop, LivePhase& phase,
                               const ServeOptions& options, const Logger& logger,
                               const std::function<Vitality()>& probe) {
  phase = Phase::kReady;
  logger.Log(LogLevel::kInfo, "serving", {{"address", server.address()}});
  stop.Arm();
  absl::Status status = WaitForEnd(server, stop, phase, options, logger, probe);
  phase = Phase::kDraining;
  server.health().SetServing(false);
  absl::Duration drain = options.drain;
  if (!status.ok()) {
    logger.Log(LogLevel::kError, "failed", {{"message", std::string(status.message())}});
    drain = std::min(drain, kShortDrain);
  } else if (options.lame_duck > absl::ZeroDuration()) {
    logger.Log(LogLevel::kInfo, "lame duck", {DurationField("limit", options.lame_duck)});
    absl::SleepFor(options.lame_duck);
  }
  logger.Log(LogLevel::kInfo, "draining", {DurationField("limit", drain)});
  server.Drain(drain);
  if (status.ok()) {
    stop.ExitWithin(kFarewell, kExitStopped);
  } else {
    stop.ExitWithin(kShortFarewell, kExitFailed);
  }
  logger.Log(LogLevel::kInfo, "stopped");
  return status;
}

}  // namespace softsplice
