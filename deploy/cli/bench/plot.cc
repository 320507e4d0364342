#include "deploy/cli/bench/plot.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "deploy/cli/bench/statistics.h"

namespace softsplice::bench {
namespace {

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

// A data block: two columns, the value in ms and the percentage of values that are not above it.
std::string Distribution(const char* name, const Summary& summary) {
  constexpr int kSteps = 500;
  std::string block = absl::StrCat("$", name, " << END\n");
  for (int i = 0; i <= kSteps && summary.count > 0; ++i) {
    const double share = static_cast<double>(i) / kSteps;
    absl::StrAppend(&block, Quantile(summary.sorted, share), " ", 100 * share, "\n");
  }
  return absl::StrCat(block, "END\n");
}

std::string OneRun(const Metrics& metrics) {
  return absl::StrCat(Distribution("ttft", metrics.ttft), Distribution("itl", metrics.itl), R"(
set xlabel "ms"
set ylabel "% of them take no longer"
set logscale x
set yrange [0:100]
set key bottom right
plot $ttft using 1:2 with lines title "time to first token", \
     $itl using 1:2 with lines title "between messages"
)");
}

std::string Sweep(const std::vector<PlottedRun>& runs, const std::string& load) {
  std::string script = "$runs << END\n";
  for (const auto& [at, metrics] : runs) {
    absl::StrAppendFormat(&script, "%g %g %g %g %g %g %g\n", at, metrics.requests_rate,
                          metrics.good_rate, metrics.ttft.median, metrics.ttft.p99,
                          metrics.itl.median, metrics.itl.p99);
  }
  return absl::StrCat(script, "END\nset xlabel ", Quoted(load), R"(
set xrange [0:*]
set multiplot layout 2,1
set ylabel "requests/s"
set yrange [0:*]
set key top left
plot $runs using 1:2 with linespoints title "completed", \
     $runs using 1:3 with linespoints title "good"
set ylabel "ms"
set yrange [*:*]
set logscale y
plot $runs using 1:4 with linespoints title "time to first token, median", \
     $runs using 1:5 with linespoints title "time to first token, 99%", \
     $runs using 1:6 with linespoints title "between messages, median", \
     $runs using 1:7 with linespoints title "between messages, 99%"
unset multiplot
)");
}

}  // namespace

std::string PlotScript(const std::vector<PlottedRun>& runs, const std::string& load,
                       const std::string& path) {
  return absl::StrCat("set terminal pngcairo size 900,", runs.size() == 1 ? 500 : 900,
                      "\nset output ", Quoted(path), "\nset grid\n",
                      runs.size() == 1 ? OneRun(runs.front().metrics) : Sweep(runs, load));
}

absl::Status CheckGnuplot() {
  if (std::system("command -v gnuplot > /dev/null") == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "there is no gnuplot, which draws the plot: install Debian's package gnuplot-nox");
}

absl::Status RunGnuplot(const std::string& script) {
  FILE* const gnuplot = popen("gnuplot", "w");
  if (gnuplot == nullptr) return absl::InternalError("can't start gnuplot");
  fwrite(script.data(), 1, script.size(), gnuplot);
  return pclose(gnuplot) == 0 ? absl::OkStatus() : absl::InternalError("gnuplot failed");
}

}  // namespace softsplice::bench
