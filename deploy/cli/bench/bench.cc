#include "deploy/cli/bench/bench.h"

#include <grpc/grpc.h>

#include <cmath>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "deploy/cli/bench/metrics.h"
#include "deploy/cli/bench/report.h"
#include "deploy/cli/bench/runner.h"
#include "deploy/cli/bench/target.h"
#include "deploy/cli/bench/workload.h"
#include "deploy/cli/client.h"
#include "deploy/cli/media.h"
#include "deploy/cli/options.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

using bench::Load;
using bench::Metrics;
using bench::Window;

struct BenchOptions {
  std::string server;
  bench::WorkloadOptions workload;
  std::vector<double> rates;
  std::vector<int> users;
  double burstiness = 1;
  int requests = 0;             // 0: no limit
  double duration_seconds = 0;  // 0: no limit
  std::optional<double> think_seconds;
  double timeout_seconds = 600;
  std::optional<double> ramp_seconds, drain_seconds;
  bool whole = false;
  bool no_prefix_cache = false;
  bench::Targets targets;
  std::string json;
};

std::optional<absl::Duration> Seconds(std::optional<double> seconds) {
  return seconds.has_value() ? std::optional(absl::Seconds(*seconds)) : std::nullopt;
}

// The runs of a sweep.
std::vector<Load> Loads(const BenchOptions& options, absl::Duration think) {
  Load load = {.burstiness = options.burstiness,
               .think = Seconds(options.think_seconds).value_or(think),
               .timeout = absl::Seconds(options.timeout_seconds)};
  if (options.requests > 0) load.requests = options.requests;
  if (options.duration_seconds > 0) load.duration = absl::Seconds(options.duration_seconds);
  std::vector<Load> loads;
  for (const double rate : options.rates) loads.emplace_back(load).rate = rate;
  for (const int users : options.users) loads.emplace_back(load).users = users;
  return loads;
}

std::string Title(const BenchOptions& options, const Load& load) {
  const std::string& name = options.workload.name;
  if (load.users > 0) return absl::StrCat(name, " with ", load.users, " at once");
  return absl::StrCat(name, " at ", load.rate, "/s");
}

nlohmann::ordered_json RunJson(const BenchOptions& options, const bench::Target& target,
                               const Load& load, size_t sent) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](bool known, auto value) { return known ? Json(value) : Json(); };
  return {{"date", absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::UTCTimeZone())},
          {"backend", "softsplice"},
          {"version", target.info.version()},
          {"model_id", target.info.model_name()},
          {"runs_on", target.info.backend()},
          {"workload", options.workload.name},
          {"scale", options.workload.scale},
          {"seed", options.workload.seed},
          {"num_prompts", sent},
          {"request_rate", or_null(load.rate > 0, load.rate)},
          // JSON knows no infinity.
          {"burstiness", std::isinf(load.burstiness) ? Json("inf") : Json(load.burstiness)},
          {"max_concurrency", or_null(load.users > 0, load.users)}};
}

// Why the workload can't be what it should be with this decoder; nothing otherwise.
absl::Status CheckContext(const BenchOptions& options, const bench::Target& target,
                          const bench::Workload& workload) {
  const int context = static_cast<int>(target.info.context_length());
  if (workload.MostTokens() <= context) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(
      options.workload.name, " needs about ", workload.MostTokens(),
      " tokens and this decoder's context holds ", context,
      "; give a smaller --scale or --budget, or start the decoder with a larger --context"));
}

// What all requests have in common.
v1::GenerateRequest BaseRequest(const BenchOptions& options, const bench::Target& target) {
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

absl::Status WriteJson(const BenchOptions& options, const std::string& lines) {
  return options.json.empty() ? absl::OkStatus() : WriteFile(options.json, lines);
}

int RunLoads(const BenchOptions& options, const bench::Target& target, bench::Runner& runner,
             const std::vector<Load>& loads, Interrupts& interrupts) {
  std::vector<std::pair<std::string, Metrics>> runs;
  std::string lines;
  for (const Load& load : loads) {
    const std::vector<bench::Record> records = runner.Run(load, options.workload.seed);
    const Window window = options.whole
                              ? bench::WholeWindow(records)
                              : bench::SteadyWindow(records, Seconds(options.ramp_seconds),
                                                    Seconds(options.drain_seconds));
    const Metrics metrics = bench::Measure(records, window, options.targets);
    const std::string& title = runs.emplace_back(Title(options, load), metrics).first;
    bench::PrintMetrics(title, window, metrics, options.targets, std::cout);
    nlohmann::ordered_json json = RunJson(options, target, load, records.size());
    json.update(bench::MetricsJson(window, metrics));
    absl::StrAppend(&lines, json.dump(), "\n");
    const absl::Status written = WriteJson(options, lines);
    if (!written.ok()) return ReportFailure(written, false);
    if (interrupts.raised()) return kExitInterrupted;
  }
  if (runs.size() > 1) bench::PrintSweep(runs, std::cout);
  for (const auto& [title, metrics] : runs) {
    if (metrics.completed > 0) return kExitOk;
  }
  PrintMessage("no request was completed");
  return kExitFailed;
}

// `options.workload` is known.
int RunBench(BenchOptions& options, Interrupts& interrupts) {
  // A thread of gRPC's may be asleep in its poller for 10 s, and gRPC's shutdown, which would come
  // with the channel's end, waits for it. Held, it does not shut down.
  grpc_init();
  const auto channel = Connect(options.server, interrupts);
  if (!channel.ok()) return ReportFailure(channel.status(), false);
  const auto stub = v1::DecoderService::NewStub(*channel);
  bench::Target target;
  const grpc::Status asked = bench::Ask(*stub, interrupts, target);
  if (interrupts.raised()) return kExitInterrupted;
  if (!asked.ok()) return ReportCallFailure(asked, false);

  options.workload.tokens_per_word = target.tokens_per_word;
  options.workload.tag = std::random_device()();
  const bench::Workload workload = *bench::Workload::Find(options.workload);
  const absl::Status fits = CheckContext(options, target, workload);
  if (!fits.ok()) return ReportFailure(fits, false);
  // A place that can't be written is told now, and not after an hour of load.
  const absl::Status writable = WriteJson(options, "");
  if (!writable.ok()) return ReportFailure(writable, false);
  const v1::GenerateRequest base = BaseRequest(options, target);
  bench::Runner runner(*stub, workload, base, interrupts);
  return RunLoads(options, target, runner, Loads(options, workload.think()), interrupts);
}

// "ttft:500" and the like.
void AddTarget(const std::string& text, bench::Targets& targets) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  double value = 0;
  double* const target = parts.first == "ttft"   ? &targets.ttft
                         : parts.first == "tpot" ? &targets.tpot
                         : parts.first == "e2el" ? &targets.e2el
                                                 : nullptr;
  if (target == nullptr || !absl::SimpleAtod(parts.second, &value) || !(value > 0)) {
    throw CLI::ValidationError(
        "--goodput", absl::StrCat(text, " is not ttft, tpot or e2el, a colon and milliseconds"));
  }
  *target = value;
}

void AddWorkload(CLI::App& command, const std::shared_ptr<BenchOptions>& options) {
  command.add_option("workload", options->workload.name, "One of those below (default: w1)")
      ->option_text("NAME");
  command
      .add_option("--scale", options->workload.scale,
                  "Multiplies tokens and lengths of sounds, for small models (default: 1)")
      ->option_text("X")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--image-share", options->workload.image_share,
                  "w8: the share of requests with a picture (default: 0.3)")
      ->option_text("X")
      ->check(CLI::Range(0.0, 1.0));
  AddBudget(command, options->workload.budget);
  command
      .add_option("--seed", options->workload.seed,
                  "Another one makes other prompts and arrivals (default: 0)")
      ->option_text("N");
}

void AddLoad(CLI::App& command, const std::shared_ptr<BenchOptions>& options) {
  const auto number = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->option_text("SECONDS")->group("Load");
  };
  // PositiveNumber takes no infinity.
  const CLI::Validator shape(
      [](std::string& text) {
        double value = 0;
        const bool fits = absl::SimpleAtod(text, &value) && value > 0;
        return fits ? "" : absl::StrCat(text, " is not above 0");
      },
      "");
  auto* rates = command
                    .add_option("--rate,--rates", options->rates,
                                "Open loop: conversations that begin each second; several, "
                                "separated by commas, one after another")
                    ->option_text("R,...")
                    ->delimiter(',')
                    ->allow_extra_args(false)
                    ->check(CLI::PositiveNumber)
                    ->group("Load");
  command
      .add_option("--users", options->users,
                  "Closed loop: users, each with one conversation after another; several as above "
                  "(default: 1, without --rate)")
      ->option_text("N,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 100000))
      ->excludes(rates)
      ->group("Load");
  command
      .add_option("--burstiness", options->burstiness,
                  "With --rate: 1 is a Poisson process, less comes in bursts, more is more even "
                  "(gaps are gamma distributed with this shape), inf is constant (default: 1)")
      ->option_text("X")
      ->needs(rates)
      ->check(shape)
      ->group("Load");
  number("--think", options->think_seconds,
         "Between an answer and the next turn, and between conversations of a user (default: the "
         "workload's)")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--requests", options->requests,
                  "No conversation begins after so many requests; of each rate")
      ->option_text("N")
      ->check(CLI::PositiveNumber)
      ->group("Load");
  number("--duration", options->duration_seconds,
         "Nothing is sent after this time; of each rate (default: 60, without --requests)")
      ->check(CLI::PositiveNumber);
  number("--timeout", options->timeout_seconds, "For one request (default: 600)")
      ->check(CLI::PositiveNumber);
  command
      .add_flag("--no-prefix-cache", options->no_prefix_cache,
                "Have every prompt read afresh, those of later turns too")
      ->group("Load");
}

void AddMeasuring(CLI::App& command, const std::shared_ptr<BenchOptions>& options) {
  const auto cut = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)
        ->option_text("SECONDS")
        ->check(CLI::NonNegativeNumber)
        ->group("Measuring");
  };
  auto* ramp = cut("--ramp", options->ramp_seconds,
                   "Left out after the first request was sent (default: a tenth)");
  auto* drain =
      cut("--drain", options->drain_seconds,
          "Left out before the last one was sent; what follows is, too (default: a tenth)");
  command.add_flag("--whole", options->whole, "Leave nothing out, as vllm bench serve does")
      ->excludes(ramp, drain)
      ->option_text(" ")
      ->group("Measuring");
  command
      .add_option_function<std::vector<std::string>>(
          "--goodput",
          [options](const std::vector<std::string>& targets) {
            for (const std::string& target : targets) AddTarget(target, options->targets);
          },
          "What a request may take to count as good, in ms, such as ttft:500,tpot:50,e2el:9000")
      ->option_text("NAME:MS,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group("Measuring");
  command
      .add_option("--json", options->json,
                  "Write a line of JSON per run, with the field names of vllm bench serve")
      ->option_text("FILE")
      ->group("Measuring");
}

}  // namespace

void AddBench(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* command = app.add_subcommand("bench", "Load a decoder with made-up requests, and time it");
  const auto options = std::make_shared<BenchOptions>();
  AddServer(*command, options->server);
  AddWorkload(*command, options);
  AddLoad(*command, options);
  AddMeasuring(*command, options);
  command->footer(absl::StrCat(R"(
Workloads (tokens of text a turn; a picture takes --budget more, a second of sound 25):
)",
                               bench::Workload::Help(), R"(
Examples:
  softsplice bench w1 --rate 2 --duration 120 --goodput ttft:1000,tpot:200
  softsplice bench w8 --image-share 0.6 --rates 0.5,1,2 --burstiness 0.3 --json w8.json
  softsplice bench w6 --users 8 --requests 128

Prompts are random words, pictures and sounds noise, alike for one --seed; requests share no more
than their workload says and the template's first tokens, and nothing is found in caches from an
earlier run. Answers have the full length: the tokens that end one are banned. Times and counts are of the requests sent between
ramp and drain, rates of what happened then. Requests that fail are counted by reason and not sent
again; a user in a closed loop waits first, as long as the server asks for or a second. Ctrl-C ends
all requests and shows what was measured so far. Exits with 1 when no request was completed.)"));
  command->callback([=, &interrupts, &exit_code] {
    const absl::Status known = bench::Workload::Find(options->workload).status();
    if (!known.ok()) throw CLI::ValidationError("workload", std::string(known.message()));
    if (options->rates.empty() && options->users.empty()) options->users = {1};
    if (options->requests == 0 && options->duration_seconds == 0) options->duration_seconds = 60;
    exit_code = RunBench(*options, interrupts);
  });
}

}  // namespace softsplice
