#include "deploy/cli/bench/metrics.h"

#include <algorithm>
#include <utility>

namespace softsplice::bench {
namespace {

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

// Of a request that brought tokens.
double Ttft(const Record& record) { return Milliseconds(record.arrivals.front().at - record.sent); }

// Of a request that brought two tokens.
double Tpot(const Record& record) {
  return Milliseconds(record.end - record.arrivals.front().at) / (record.tokens() - 1);
}

double E2el(const Record& record) { return Milliseconds(record.end - record.sent); }

bool IsGood(const Record& record, const Targets& targets) {
  if (!record.completed() || record.arrivals.empty()) return false;
  const bool paced = record.tokens() < 2 || Tpot(record) <= targets.tpot;
  return paced && Ttft(record) <= targets.ttft && E2el(record) <= targets.e2el;
}

void MeasureRates(const std::vector<Record>& records, const Window& window, const Targets& targets,
                  Metrics& metrics) {
  const double seconds = absl::ToDoubleSeconds(metrics.duration);
  if (seconds <= 0) return;
  for (const Record& record : records) {
    if (record.completed() && window.Contains(record.end)) {
      metrics.requests_rate += 1 / seconds;
      if (IsGood(record, targets)) metrics.good_rate += 1 / seconds;
    }
    for (const Arrival& arrival : record.arrivals) {
      if (window.Contains(arrival.at)) metrics.output_rate += arrival.tokens / seconds;
    }
    if (!record.arrivals.empty() && window.Contains(record.arrivals.front().at)) {
      metrics.prompt_rate += record.prompt_tokens / seconds;
    }
  }
}

// The values that become summaries.
struct Values {
  std::vector<double> ttft, queued, encode, prefill, tpot, itl, itl_per_token, e2el, failed_after,
      lateness;
};

void AddGaps(const Record& record, Values& values) {
  for (size_t i = 1; i < record.arrivals.size(); ++i) {
    const Arrival& arrival = record.arrivals[i];
    const double gap = Milliseconds(arrival.at - record.arrivals[i - 1].at);
    values.itl.push_back(gap);
    values.itl_per_token.insert(values.itl_per_token.end(), static_cast<size_t>(arrival.tokens),
                                gap / arrival.tokens);
  }
}

void AddCompleted(const Record& record, Values& values) {
  values.e2el.push_back(E2el(record));
  if (record.queued) values.queued.push_back(Milliseconds(*record.queued));
  if (record.encode) values.encode.push_back(Milliseconds(*record.encode));
  if (record.prefill) values.prefill.push_back(Milliseconds(*record.prefill));
  if (record.arrivals.empty()) return;
  values.ttft.push_back(Ttft(record));
  AddGaps(record, values);
  if (record.tokens() > 1) values.tpot.push_back(Tpot(record));
}

void SummarizeAll(Values values, Metrics& metrics) {
  metrics.ttft = Summarize(std::move(values.ttft));
  metrics.queued = Summarize(std::move(values.queued));
  metrics.encode = Summarize(std::move(values.encode));
  metrics.prefill = Summarize(std::move(values.prefill));
  metrics.tpot = Summarize(std::move(values.tpot));
  metrics.itl = Summarize(std::move(values.itl));
  metrics.itl_per_token = Summarize(std::move(values.itl_per_token));
  metrics.e2el = Summarize(std::move(values.e2el));
  metrics.failed_after = Summarize(std::move(values.failed_after));
  metrics.lateness = Summarize(std::move(values.lateness));
}

}  // namespace

Window WholeWindow(const std::vector<Record>& records) {
  if (records.empty()) return {};
  Window window = {.begin = records.front().sent, .end = records.front().end};
  for (const Record& record : records) {
    window.begin = std::min(window.begin, record.sent);
    window.end = std::max(window.end, record.end);
  }
  return window;
}

Window SteadyWindow(const std::vector<Record>& records, std::optional<absl::Duration> ramp,
                    std::optional<absl::Duration> drain) {
  const Window whole = WholeWindow(records);
  absl::Duration last = whole.begin;
  for (const Record& record : records) last = std::max(last, record.sent);
  const absl::Duration tenth = (last - whole.begin) / 10;
  const Window window = {.begin = whole.begin + ramp.value_or(tenth),
                         .end = last - drain.value_or(tenth),
                         .steady = true};
  const auto any = [&](auto moment) {
    return std::any_of(records.begin(), records.end(), [&](const Record& record) {
      return record.completed() && window.Contains(record.*moment);
    });
  };
  return any(&Record::sent) && any(&Record::end) ? window : whole;
}

Metrics Measure(const std::vector<Record>& records, const Window& window, const Targets& targets) {
  Metrics metrics = {.duration = window.end - window.begin};
  MeasureRates(records, window, targets, metrics);
  Values values;
  for (const Record& record : records) {
    if (!window.Contains(record.sent)) continue;
    values.lateness.push_back(Milliseconds(record.sent - record.due));
    if (record.abandoned) {
      ++metrics.abandoned;
    } else if (record.completed()) {
      ++metrics.completed;
      metrics.prompt_tokens += record.prompt_tokens;
      metrics.cached_tokens += record.cached_tokens;
      metrics.output_tokens += record.tokens();
      AddCompleted(record, values);
    } else {
      ++metrics.failed;
      ++metrics.failures[record.failure];
      values.failed_after.push_back(E2el(record));
    }
  }
  SummarizeAll(std::move(values), metrics);
  return metrics;
}

}  // namespace softsplice::bench
