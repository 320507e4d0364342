// The flags that both services have, and the conventions of all flags: each has an environment
// variable, unknown ones are errors.
#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>

#include "common/log/log.h"
#include "common/server/border.h"
#include "common/server/gate.h"
#include "common/server/serve.h"
#include "common/server/server.h"

namespace softsplice {

// Exit codes of a service's main program.
inline constexpr int kExitStopped = 0;  // after SIGTERM, SIGINT or SIGHUP
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct ServiceFlags {
  ServerOptions server;
  BorderOptions border;
  GateOptions gate;
  ServeOptions serve;
  absl::Duration model_wait = absl::ZeroDuration();
  std::string admin_listen;  // empty: nowhere
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
};

// How a process ends that `status` ends. INVALID_ARGUMENT: its flags, or files that they name, are
// wrong.
int ExitCodeOf(const absl::Status& status);

// Adds them to `app`. `flags` is filled by ParseFlags and must outlive `app`.
void AddServiceFlags(CLI::App& app, const std::string& default_listen, ServiceFlags* flags);

// Gives every option that `app` has the environment variable `prefix` + its name ("--max-queue" is
// SOFTSPLICE_ENCODER_MAX_QUEUE), then parses. An exit code means: leave with it (--help, --version,
// or wrong usage, which was told on stderr).
std::optional<int> ParseFlags(CLI::App& app, const std::string& prefix, int argc, char** argv);

}  // namespace softsplice
