#include "deploy/cli/bench/bench.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status/macros.h"
#include "deploy/cli/bench/decoder_target.h"
#include "deploy/cli/bench/llama_target.h"
#include "deploy/cli/bench/metrics.h"
#include "deploy/cli/bench/options.h"
#include "deploy/cli/bench/plot.h"
#include "deploy/cli/bench/report.h"
#include "deploy/cli/bench/runner.h"
#include "deploy/cli/bench/trace.h"
#include "deploy/cli/bench/workload.h"
#include "deploy/cli/client.h"
#include "deploy/cli/files.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

using bench::Load;
using bench::Metrics;
using bench::Window;

std::optional<absl::Duration> Seconds(std::optional<double> seconds) {
  return seconds.has_value() ? std::optional(absl::Seconds(*seconds)) : std::nullopt;
}

// The runs of a sweep.
std::vector<Load> Loads(const bench::Options& options,
                        const std::vector<bench::TracedRequest>& trace, absl::Duration think) {
  Load load = {.burstiness = options.burstiness,
               .think = Seconds(options.think_seconds).value_or(think),
               .timeout = absl::Seconds(options.timeout_seconds)};
  if (options.requests > 0) load.requests = options.requests;
  if (options.duration_seconds > 0) load.duration = absl::Seconds(options.duration_seconds);
  std::vector<Load> loads;
  for (const double rate : options.rates) loads.emplace_back(load).rate = rate;
  for (const int users : options.users) loads.emplace_back(load).users = users;
  if (trace.empty()) return loads;
  for (const bench::TracedRequest& traced : trace) {
    load.gaps.push_back(traced.after / options.trace_speed);
  }
  loads.push_back(std::move(load));
  return loads;
}

std::string Title(const bench::Options& options, const Load& load) {
  const std::string& name = options.workload.name;
  if (load.users > 0) return absl::StrCat(name, " with ", load.users, " at once");
  if (!load.gaps.empty())
    return absl::StrCat(name, " at ", options.trace_speed, " times its speed");
  return absl::StrCat(name, " at ", load.rate, "/s");
}

nlohmann::ordered_json RunJson(const bench::Options& options, const bench::TargetInfo& target,
                               const Load& load, size_t sent) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](bool known, auto value) { return known ? Json(value) : Json(); };
  return {{"date", absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::UTCTimeZone())},
          {"backend", target.kind},
          {"version", target.version},
          {"model_id", target.model},
          {"runs_on", target.runs_on},
          {"workload", options.workload.name},
          {"trace_speed", or_null(!load.gaps.empty(), options.trace_speed)},
          {"sessions", options.sessions},
          {"scale", options.workload.scale},
          {"seed", options.workload.seed},
          {"num_prompts", sent},
          {"request_rate", or_null(load.rate > 0, load.rate)},
          // JSON knows no infinity.
          {"burstiness", std::isinf(load.burstiness) ? Json("inf") : Json(load.burstiness)},
          {"max_concurrency", or_null(load.users > 0, load.users)}};
}

// Why the workload can't be what it should be with this server; nothing otherwise.
absl::Status CheckContext(const bench::Options& options, const bench::TargetInfo& target,
                          const bench::Workload& workload) {
  if (workload.MostTokens() <= target.context_length) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      options.workload.name, " needs about ", workload.MostTokens(),
      " tokens and this server's context holds ", target.context_length,
      "; give a smaller --scale or --budget, or start the server with a larger context"));
}

// What all requests have in common.
v1::GenerateRequest BaseRequest(const bench::Options& options, const bench::TargetInfo& target) {
  v1::GenerateRequest request;
  request.mutable_sampling()->set_seed(options.workload.seed);
  for (const uint32_t token : target.stop_tokens) {
    v1::LogitBias& bias = *request.mutable_sampling()->add_logit_bias();
    bias.set_token_id(token);
    bias.set_bias(-std::numeric_limits<float>::infinity());
  }
  request.set_no_prefix_cache(options.no_prefix_cache);
  // Prompts of an earlier run with this seed do not count as known.
  request.set_cache_salt(absl::StrCat("bench ", options.workload.tag));
  return request;
}

absl::Status WriteJson(const bench::Options& options, const std::string& lines,
                       Interrupts& interrupts) {
  return options.json.empty() ? absl::OkStatus() : WriteFile(options.json, lines, interrupts);
}

// Whether what is measured can be kept.
absl::Status CheckOutputs(const bench::Options& options, Interrupts& interrupts) {
  absl::Status status = WriteJson(options, "", interrupts);
  if (status.ok() && !options.plot.empty()) status = bench::CheckGnuplot();
  if (status.ok() && !options.plot.empty()) status = WriteFile(options.plot, "", interrupts);
  return status;
}

struct Run {
  Load load;
  Metrics metrics;
};

absl::Status Plot(const bench::Options& options, const std::vector<Run>& runs) {
  if (options.plot.empty()) return absl::OkStatus();
  const bool open = runs.front().load.rate > 0;
  std::vector<bench::PlottedRun> plotted;
  for (const auto& [load, metrics] : runs) {
    plotted.push_back({.load = open ? load.rate : load.users, .metrics = metrics});
  }
  const std::string axis = open ? "conversations begun each second" : "users";
  return bench::RunGnuplot(
      bench::PlotScript(plotted, absl::StrCat(options.workload.name, ": ", axis), options.plot));
}

// The end of a sweep, however it came.
int Report(const bench::Options& options, const std::vector<Run>& runs, Interrupts& interrupts) {
  if (runs.size() > 1) {
    std::vector<std::pair<std::string, Metrics>> titled;
    for (const auto& [load, metrics] : runs) titled.emplace_back(Title(options, load), metrics);
    bench::PrintSweep(titled, std::cout);
  }
  const bool any = std::any_of(runs.begin(), runs.end(),
                               [](const Run& run) { return run.metrics.completed > 0; });
  if (any) {
    const absl::Status plotted = Plot(options, runs);
    if (!plotted.ok()) return ReportFailure(plotted, false);
  }
  if (interrupts.raised()) return kExitInterrupted;
  if (any) return kExitOk;
  PrintMessage("no request was completed");
  return kExitFailed;
}

int RunLoads(const bench::Options& options, const bench::TargetInfo& target, bench::Runner& runner,
             const std::vector<Load>& loads, Interrupts& interrupts) {
  std::vector<Run> runs;
  std::string lines;
  for (const Load& load : loads) {
    const std::vector<bench::Record> records = runner.Run(load, options.workload.seed);
    const Window window = options.whole
                              ? bench::WholeWindow(records)
                              : bench::SteadyWindow(records, Seconds(options.ramp_seconds),
                                                    Seconds(options.drain_seconds));
    const Metrics metrics = bench::Measure(records, window, options.targets);
    runs.push_back({load, metrics});
    bench::PrintMetrics(Title(options, load), window, metrics, options.targets, std::cout);
    nlohmann::ordered_json json = RunJson(options, target, load, records.size());
    json.update(bench::MetricsJson(window, metrics));
    if (options.save_detailed) json.update(bench::RequestsJson(window, records));
    absl::StrAppend(&lines, json.dump(), "\n");
    const absl::Status written = WriteJson(options, lines, interrupts);
    if (!written.ok()) return ReportFailure(written, false);
    if (interrupts.raised()) break;
  }
  return Report(options, runs, interrupts);
}

absl::StatusOr<std::unique_ptr<bench::Target>> Reach(const bench::Options& options,
                                                     Interrupts& interrupts) {
  if (options.llama_server.empty())
    return bench::ConnectDecoder(options.server, options.access, options.sessions, interrupts);
  return bench::ConnectLlamaServer(options.llama_server, interrupts);
}

absl::StatusOr<std::vector<bench::TracedRequest>> ReadTrace(const bench::Options& options,
                                                            Interrupts& interrupts) {
  if (options.trace.empty()) return std::vector<bench::TracedRequest>();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(options.trace, interrupts));
  return bench::ParseTrace(text);
}

// `options.workload` is known.
int RunBench(bench::Options& options, Interrupts& interrupts) {
  const auto trace = ReadTrace(options, interrupts);
  if (!trace.ok()) return ReportFailure(trace.status(), false);
  const auto target = Reach(options, interrupts);
  if (!target.ok()) return ReportFailure(target.status(), false);
  const bench::TargetInfo& info = (*target)->info();
  options.workload.tokens_per_word = info.tokens_per_word;
  options.workload.tag = std::random_device()();
  const bench::Workload workload = trace->empty()
                                       ? *bench::Workload::Find(options.workload)
                                       : bench::Workload::Replay(options.workload, *trace);
  const absl::Status fits = CheckContext(options, info, workload);
  if (!fits.ok()) return ReportFailure(fits, false);
  // Told now, and not after an hour of load.
  const absl::Status writable = CheckOutputs(options, interrupts);
  if (!writable.ok()) return ReportFailure(writable, false);
  const v1::GenerateRequest base = BaseRequest(options, info);
  bench::Runner runner(**target, workload, base, interrupts);
  return RunLoads(options, info, runner, Loads(options, *trace, workload.think()), interrupts);
}

}  // namespace

void AddBench(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* command = app.add_subcommand("bench", "Load a decoder with made-up requests, and time it");
  const auto options = std::make_shared<bench::Options>();
  bench::AddOptions(*command, options);
  command->callback([=, &interrupts, &exit_code] {
    bench::CompleteOptions(*options);
    exit_code = RunBench(*options, interrupts);
  });
}

}  // namespace softsplice
