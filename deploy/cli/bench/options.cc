#include "deploy/cli/bench/options.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "deploy/cli/options.h"

namespace softsplice::bench {
namespace {

// "ttft:500" and the like.
void AddTarget(const std::string& text, Targets& targets) {
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

void AddWorkload(CLI::App& command, const std::shared_ptr<Options>& options) {
  auto* workload =
      command.add_option("workload", options->workload.name, "One of those below (default: w1)")
          ->option_text("NAME");
  auto* trace =
      command
          .add_option("--trace", options->trace,
                      "Instead: requests as they came to some service, at their times and of their "
                      "lengths, until all are sent: a line of JSON each, with timestamp (ms), "
                      "input_length, output_length and perhaps hash_ids, as Mooncake's traces")
          ->option_text("FILE")
          ->excludes(workload);
  command
      .add_option("--trace-speed", options->trace_speed,
                  "So many times as fast as they came (default: 1)")
      ->option_text("X")
      ->needs(trace)
      ->check(CLI::PositiveNumber);
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

void AddLoad(CLI::App& command, const std::shared_ptr<Options>& options) {
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
                    ->excludes("--trace")
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
      ->excludes("--trace")
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
  command
      .add_flag("--sessions", options->sessions,
                "Hold each conversation in a session, and send its new turns only")
      ->excludes("--llama-server")
      ->group("Load");
}

void AddMeasuring(CLI::App& command, const std::shared_ptr<Options>& options) {
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
  auto* json =
      command.add_option("--json", options->json,
                         "Write a line of JSON per run, with the field names of vllm bench serve");
  json->option_text("FILE")->group("Measuring");
  command
      .add_flag("--save-detailed", options->save_detailed,
                "With --json: each request's tokens and times, too")
      ->option_text(" ")
      ->needs(json)
      ->group("Measuring");
  command
      .add_option("--plot", options->plot,
                  "Draw a PNG (with gnuplot): requests per second and latencies over several rates "
                  "or numbers of users, the distribution of latencies at one")
      ->option_text("FILE")
      ->group("Measuring");
}

}  // namespace

void AddOptions(CLI::App& command, const std::shared_ptr<Options>& options) {
  auto* server = AddServer(command, options->server);
  command
      .add_option("--llama-server", options->llama_server,
                  "Instead: where llama.cpp's server listens, such as http://localhost:8080; "
                  "--budget is not told to it, but its own option --image-max-tokens")
      ->option_text("URL")
      ->excludes(server);
  AddWorkload(command, options);
  AddAccess(command, options->access);
  AddLoad(command, options);
  AddMeasuring(command, options);
  command.footer(absl::StrCat(R"(
Workloads (tokens of text a turn; a picture takes --budget more, a second of sound 25):
)",
                              Workload::Help(), R"(
Examples:
  softsplice bench w1 --rate 2 --duration 120 --goodput ttft:1000,tpot:200
  softsplice bench w8 --image-share 0.6 --rates 0.5,1,2 --burstiness 0.3 --json w8.json --plot w8.png
  softsplice bench w6 --users 8 --requests 128
  softsplice bench --trace conversation_trace.jsonl --trace-speed 0.1 --scale 0.05 --requests 200

Prompts are random words, pictures and sounds noise, alike for one --seed; requests share no more
than their workload says and the template's first tokens, and nothing is found in caches from an
earlier run. Answers have the full length: the tokens that end one are banned. Times and counts are of the requests sent between
ramp and drain, rates of what happened then. Requests that fail are counted by reason and not sent
again; a user in a closed loop waits first, as long as the server asks for or a second. Ctrl-C ends
all requests and shows what was measured so far. Exits with 1 when no request was completed.)"));
}

void CompleteOptions(Options& options) {
  const absl::Status known = Workload::Find(options.workload).status();
  if (!known.ok()) throw CLI::ValidationError("workload", std::string(known.message()));
  if (!options.trace.empty()) {
    options.workload.name = "trace";
    return;
  }
  if (options.rates.empty() && options.users.empty()) options.users = {1};
  if (options.requests == 0 && options.duration_seconds == 0) options.duration_seconds = 60;
}

}  // namespace softsplice::bench
