#include "deploy/cli/bench/metrics.h"

#include "deploy/cli/bench/report.h"
#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

absl::Duration At(double seconds) { return absl::Seconds(seconds); }

// Sent at `sent`, with one token after 1 s, two more after 1.5 s, a fourth and the end after 2.5 s.
Record Answered(double sent) {
  Record record = {.due = At(sent - 0.25), .sent = At(sent), .end = At(sent + 2.5)};
  record.arrivals = {{At(sent + 1), 1}, {At(sent + 1.5), 2}, {At(sent + 2.5), 1}};
  record.prompt_tokens = 100;
  record.cached_tokens = 40;
  record.queued = At(0.125);
  record.encode = At(0.25);
  record.prefill = At(0.5);
  return record;
}

Record Failed(double sent, const std::string& failure) {
  return {.due = At(sent), .sent = At(sent), .end = At(sent + 0.5), .failure = failure};
}

TEST(MetricsTest, TimesOfOneRequest) {
  const std::vector<Record> records = {Answered(0)};
  const Metrics metrics = Measure(records, WholeWindow(records), {});
  EXPECT_EQ(metrics.completed, 1);
  EXPECT_DOUBLE_EQ(metrics.ttft.mean, 1000);
  EXPECT_DOUBLE_EQ(metrics.e2el.mean, 2500);
  EXPECT_DOUBLE_EQ(metrics.tpot.mean, 500);  // 1,500 ms for three tokens after the first
  EXPECT_EQ(metrics.itl.count, 2u);          // gaps of 500 and 1,000
  EXPECT_DOUBLE_EQ(metrics.itl.mean, 750);
  EXPECT_EQ(metrics.itl_per_token.count, 3u);  // 250, 250, 1,000
  EXPECT_DOUBLE_EQ(metrics.itl_per_token.mean, 500);
  EXPECT_DOUBLE_EQ(metrics.itl_per_token.median, 250);
  EXPECT_DOUBLE_EQ(metrics.queued.mean, 125);
  EXPECT_DOUBLE_EQ(metrics.encode.mean, 250);
  EXPECT_DOUBLE_EQ(metrics.prefill.mean, 500);
  EXPECT_DOUBLE_EQ(metrics.lateness.mean, 250);
  EXPECT_EQ(metrics.prompt_tokens, 100);
  EXPECT_EQ(metrics.cached_tokens, 40);
  EXPECT_EQ(metrics.output_tokens, 4);
  EXPECT_DOUBLE_EQ(metrics.output_rate, 4 / 2.5);
  EXPECT_DOUBLE_EQ(metrics.prompt_rate, 100 / 2.5);
}

TEST(MetricsTest, EachCompletedRequestOfTheWindow) {
  const std::vector<Record> records = {Answered(0), Failed(1, "UNAVAILABLE"), Answered(2)};
  const auto json = RequestsJson({.begin = At(1), .end = At(9)}, records);
  EXPECT_EQ(json.dump(),
            R"({"input_lens":[100],"output_lens":[4],"ttfts":[1.0],"itls":[[0.5,1.0]]})");
}

// Requests at 0, 1 … 10 s: the window is 1 to 9 s.
TEST(MetricsTest, RampAndDrainAreLeftOut) {
  std::vector<Record> records;
  for (int i = 0; i <= 10; ++i) records.push_back(Answered(i));
  const Window window = SteadyWindow(records, std::nullopt, std::nullopt);
  EXPECT_TRUE(window.steady);
  EXPECT_EQ(window.begin, At(1));
  EXPECT_EQ(window.end, At(9));
  const Metrics metrics = Measure(records, window, {});
  EXPECT_EQ(metrics.completed, 9);  // sent from 1 to 9 s
  // Ended at 2.5, 3.5 … 8.5 s.
  EXPECT_DOUBLE_EQ(metrics.requests_rate, 7 / 8.0);
  // First tokens at 1, 2 … 9 s; the others come 0.5 s later from 1.5 s, and 1.5 s later from 2.5 s.
  EXPECT_DOUBLE_EQ(metrics.prompt_rate, 900 / 8.0);
  EXPECT_DOUBLE_EQ(metrics.output_rate, (9 + 2 * 8 + 7) / 8.0);
}

TEST(MetricsTest, RampAndDrainAsGiven) {
  std::vector<Record> records;
  for (int i = 0; i <= 10; ++i) records.push_back(Answered(i));
  const Window window = SteadyWindow(records, At(2.5), At(0));
  EXPECT_EQ(window.begin, At(2.5));
  EXPECT_EQ(window.end, At(10));
  EXPECT_EQ(Measure(records, window, {}).completed, 8);
}

TEST(MetricsTest, AllCountsWhereNothingIsSteady) {
  for (const auto& records : {std::vector<Record>{Answered(0), Answered(0)},
                              std::vector<Record>{Answered(0), Answered(2)}}) {
    const Window window = SteadyWindow(records, std::nullopt, std::nullopt);
    EXPECT_FALSE(window.steady);
    const Metrics metrics = Measure(records, window, {});
    EXPECT_EQ(metrics.completed, 2);
    EXPECT_DOUBLE_EQ(metrics.requests_rate, 2 / absl::ToDoubleSeconds(metrics.duration));
  }
  EXPECT_EQ(Measure({}, SteadyWindow({}, {}, {}), {}).completed, 0);
}

TEST(MetricsTest, FailuresAreCountedByReasonAndAreNotAnswers) {
  std::vector<Record> records = {Answered(0), Failed(0, "RESOURCE_EXHAUSTED QUEUE_FULL"),
                                 Failed(0, "RESOURCE_EXHAUSTED QUEUE_FULL"),
                                 Failed(0, "UNAVAILABLE")};
  records.push_back({.sent = At(0), .end = At(1), .abandoned = true});
  const Metrics metrics = Measure(records, WholeWindow(records), {});
  EXPECT_EQ(metrics.completed, 1);
  EXPECT_EQ(metrics.failed, 3);
  EXPECT_EQ(metrics.abandoned, 1);
  EXPECT_EQ(metrics.failures.at("RESOURCE_EXHAUSTED QUEUE_FULL"), 2);
  EXPECT_EQ(metrics.failures.at("UNAVAILABLE"), 1);
  EXPECT_EQ(metrics.e2el.count, 1u);
  EXPECT_DOUBLE_EQ(metrics.failed_after.mean, 500);
}

double GoodPerSecond(const Targets& targets) {
  const std::vector<Record> records = {Answered(0), Answered(0), Failed(0, "UNAVAILABLE")};
  return Measure(records, WholeWindow(records), targets).good_rate;
}

TEST(MetricsTest, GoodputHasAllTargetsMet) {
  const double all = 2 / 2.5;
  EXPECT_DOUBLE_EQ(GoodPerSecond({}), all);
  EXPECT_DOUBLE_EQ(GoodPerSecond({.ttft = 1000, .tpot = 500, .e2el = 2500}), all);
  EXPECT_DOUBLE_EQ(GoodPerSecond({.ttft = 999}), 0);
  EXPECT_DOUBLE_EQ(GoodPerSecond({.tpot = 499}), 0);
  EXPECT_DOUBLE_EQ(GoodPerSecond({.ttft = 1000, .e2el = 2499}), 0);
}

TEST(MetricsTest, OneTokenHasNoPace) {
  Record record = Answered(0);
  record.arrivals.resize(1);
  const std::vector<Record> records = {record};
  const Metrics metrics = Measure(records, WholeWindow(records), {.tpot = 1});
  EXPECT_EQ(metrics.tpot.count, 0u);
  EXPECT_EQ(metrics.itl.count, 0u);
  EXPECT_DOUBLE_EQ(metrics.good_rate, 1 / 2.5);
}

TEST(ReportTest, FieldsAreThoseOfVllm) {
  const std::vector<Record> records = {Answered(0), Failed(0, "UNAVAILABLE")};
  const Window window = WholeWindow(records);
  const nlohmann::ordered_json json = MetricsJson(window, Measure(records, window, {}));
  EXPECT_EQ(json["completed"], 1);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["errors"]["UNAVAILABLE"], 1);
  EXPECT_EQ(json["duration"], 2.5);
  EXPECT_EQ(json["total_input_tokens"], 100);
  EXPECT_EQ(json["total_output_tokens"], 4);
  EXPECT_EQ(json["output_throughput"], 1.6);
  EXPECT_EQ(json["mean_ttft_ms"], 1000);
  EXPECT_EQ(json["median_tpot_ms"], 500);
  EXPECT_EQ(json["std_e2el_ms"], 0);
  EXPECT_EQ(json["p99_itl_ms"], 500 + 0.99 * 500);
}

}  // namespace
}  // namespace softsplice::bench
