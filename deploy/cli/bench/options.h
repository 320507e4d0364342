// What `softsplice bench` is asked for.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "deploy/cli/access.h"
#include "deploy/cli/bench/metrics.h"
#include "deploy/cli/bench/workload.h"

namespace softsplice::bench {

struct Options {
  std::string server;        // a decoder's address; or else
  Access access;             // to it
  std::string llama_server;  // a llama-server's URL
  WorkloadOptions workload;
  std::vector<double> rates;  // of an open loop: one run each; or else
  std::vector<int> users;     // of a closed one
  double burstiness = 1;
  std::string trace;  // a file of requests instead of a workload; empty: none
  double trace_speed = 1;
  int requests = 0;                     // 0: no limit
  double duration_seconds = 0;          // 0: no limit
  std::optional<double> think_seconds;  // nothing: the workload's
  double timeout_seconds = 600;
  std::optional<double> ramp_seconds, drain_seconds;  // nothing: a tenth
  bool whole = false;                                 // no ramp, no drain
  bool no_prefix_cache = false;
  bool sessions = false;
  Targets targets;
  std::string json;            // a file; empty: none
  bool save_detailed = false;  // each request in it
  std::string plot;            // as json
};

// Adds all of them to `command`, and an end of its help. `options` lives as long as `command`.
void AddOptions(CLI::App& command, const std::shared_ptr<Options>& options);

// What can't be told option by option. Throws CLI's errors of wrong usage.
void CompleteOptions(Options& options);

}  // namespace softsplice::bench
