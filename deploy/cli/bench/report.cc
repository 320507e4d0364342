#include "deploy/cli/bench/report.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace softsplice::bench {
namespace {

struct Row {
  const char* label;  // for people
  const char* key;    // in field names
  const Summary Metrics::*summary;
};

constexpr Row kRows[] = {
    {"time to first token", "ttft", &Metrics::ttft},
    {"  in the queue", "queued", &Metrics::queued},
    {"  encoding", "encode", &Metrics::encode},
    {"  reading the prompt", "prefill", &Metrics::prefill},
    {"time per output token", "tpot", &Metrics::tpot},
    {"between messages", "itl", &Metrics::itl},
    {"between tokens", "itl_per_token", &Metrics::itl_per_token},
    {"whole request", "e2el", &Metrics::e2el},
    {"until it failed", "failed_after", &Metrics::failed_after},
    {"sent late by", "lateness", &Metrics::lateness},
};

std::string Failures(const Metrics& metrics) {
  return absl::StrJoin(metrics.failures, ", ", [](std::string* out, const auto& failure) {
    absl::StrAppend(out, failure.second, " ", failure.first);
  });
}

std::string Wanted(const Targets& targets) {
  std::vector<std::string> wanted;
  const auto add = [&](const char* name, double target) {
    if (!std::isinf(target)) wanted.push_back(absl::StrFormat("%s %g ms", name, target));
  };
  add("ttft", targets.ttft);
  add("tpot", targets.tpot);
  add("e2el", targets.e2el);
  return absl::StrJoin(wanted, ", ");
}

}  // namespace

void PrintMetrics(const std::string& title, const Window& window, const Metrics& metrics,
                  const Targets& targets, std::ostream& out) {
  out << title << ", "
      << absl::StrFormat("%.1f s %s\n", absl::ToDoubleSeconds(metrics.duration),
                         window.steady ? "without ramp and drain" : "with ramp and drain")
      << absl::StrFormat("  requests     %d completed, %d failed", metrics.completed,
                         metrics.failed);
  if (metrics.failed > 0) out << " (" << Failures(metrics) << ")";
  if (metrics.abandoned > 0) out << ", " << metrics.abandoned << " abandoned";
  out << absl::StrFormat("\n  throughput   %.2f requests/s, %.1f tok/s written, %.1f tok/s read\n",
                         metrics.requests_rate, metrics.output_rate, metrics.prompt_rate);
  if (const std::string wanted = Wanted(targets); !wanted.empty()) {
    out << absl::StrFormat("  goodput      %.2f requests/s within %s\n", metrics.good_rate, wanted);
  }
  out << absl::StrFormat("  prompts      %d tokens, of which %d cached\n", metrics.prompt_tokens,
                         metrics.cached_tokens)
      << absl::StrFormat("  %-24s %9s %9s %9s %9s\n", "ms", "mean", "median", "p90", "p99");
  for (const Row& row : kRows) {
    const Summary& summary = metrics.*row.summary;
    if (summary.count == 0) continue;
    out << absl::StrFormat("  %-24s %9.1f %9.1f %9.1f %9.1f\n", row.label, summary.mean,
                           summary.median, summary.p90, summary.p99);
  }
  out << std::flush;
}

void PrintSweep(const std::vector<std::pair<std::string, Metrics>>& runs, std::ostream& out) {
  out << absl::StrFormat("\n%-20s %8s %8s %9s %10s %10s %10s %10s %7s\n", "", "done/s", "good/s",
                         "tok/s", "ttft p50", "ttft p99", "tpot p50", "itl p99", "failed");
  for (const auto& [title, metrics] : runs) {
    out << absl::StrFormat("%-20s %8.2f %8.2f %9.1f %10.1f %10.1f %10.1f %10.1f %7d\n", title,
                           metrics.requests_rate, metrics.good_rate, metrics.output_rate,
                           metrics.ttft.median, metrics.ttft.p99, metrics.tpot.median,
                           metrics.itl.p99, metrics.failed);
  }
  out << std::flush;
}

nlohmann::ordered_json MetricsJson(const Window& window, const Metrics& metrics) {
  nlohmann::ordered_json json = {
      {"steady", window.steady},
      {"duration", absl::ToDoubleSeconds(metrics.duration)},
      {"completed", metrics.completed},
      {"failed", metrics.failed},
      {"abandoned", metrics.abandoned},
      {"errors", metrics.failures},
      {"total_input_tokens", metrics.prompt_tokens},
      {"total_cached_tokens", metrics.cached_tokens},
      {"total_output_tokens", metrics.output_tokens},
      {"request_throughput", metrics.requests_rate},
      {"request_goodput", metrics.good_rate},
      {"output_throughput", metrics.output_rate},
      {"total_token_throughput", metrics.output_rate + metrics.prompt_rate}};
  for (const Row& row : kRows) {
    const Summary& summary = metrics.*row.summary;
    const auto field = [&](const char* statistic) {
      return absl::StrCat(statistic, "_", row.key, "_ms");
    };
    json[field("mean")] = summary.mean;
    json[field("median")] = summary.median;
    json[field("std")] = summary.deviation;
    json[field("p90")] = summary.p90;
    json[field("p99")] = summary.p99;
  }
  return json;
}

nlohmann::ordered_json RequestsJson(const Window& window, const std::vector<Record>& records) {
  std::vector<int> prompts, answers;
  std::vector<double> ttfts;
  std::vector<std::vector<double>> itls;
  for (const Record& record : records) {
    if (!record.completed() || record.arrivals.empty() || !window.Contains(record.sent)) continue;
    prompts.push_back(record.prompt_tokens);
    answers.push_back(record.tokens());
    ttfts.push_back(absl::ToDoubleSeconds(record.arrivals.front().at - record.sent));
    std::vector<double>& gaps = itls.emplace_back();
    for (size_t i = 1; i < record.arrivals.size(); ++i) {
      gaps.push_back(absl::ToDoubleSeconds(record.arrivals[i].at - record.arrivals[i - 1].at));
    }
  }
  return {{"input_lens", prompts}, {"output_lens", answers}, {"ttfts", ttfts}, {"itls", itls}};
}

}  // namespace softsplice::bench
