// Runs as a picture, drawn by gnuplot.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "deploy/cli/bench/metrics.h"

namespace softsplice::bench {

struct PlottedRun {
  double load = 0;  // conversations begun each second, or users
  Metrics metrics;
};

// What has gnuplot draw `runs` (at least one) into the PNG file `path`. Several runs: requests per
// second and latencies over the load, whose name is `load`; one: how its times to first tokens and
// between messages are distributed.
std::string PlotScript(const std::vector<PlottedRun>& runs, const std::string& load,
                       const std::string& path);

// FAILED_PRECONDITION: there is no gnuplot, and what to install.
absl::Status CheckGnuplot();

// INTERNAL: gnuplot failed; it has said on stderr why.
absl::Status RunGnuplot(const std::string& script);

}  // namespace softsplice::bench
