// A run's figures, for people and for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "deploy/cli/bench/metrics.h"

namespace softsplice::bench {

// `title`: how the service was loaded, such as "w1 at 2 requests/s".
void PrintMetrics(const std::string& title, const Window& window, const Metrics& metrics,
                  const Targets& targets, std::ostream& out);

// One line per run: title and figures.
void PrintSweep(const std::vector<std::pair<std::string, Metrics>>& runs, std::ostream& out);

// Fields are named, and mean, what they are and mean in the result files of `vllm bench serve`
// where it has such (mean_ttft_ms, request_throughput, …).
nlohmann::ordered_json MetricsJson(const Window& window, const Metrics& metrics);

// The same of each request that was sent in the window and completed, in the order of their ends,
// as lists; times are in seconds, as theirs.
nlohmann::ordered_json RequestsJson(const Window& window, const std::vector<Record>& records);

}  // namespace softsplice::bench
