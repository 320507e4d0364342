#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/server/call_metrics.h"
#include "common/server/metrics.h"
#include "common/server/process_metrics.h"
#include "common/server/service_metrics.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "grpc/health/v1/health.pb.h"

namespace softsplice {
namespace {

using testing::HasSubstr;
using testing::Not;

enum class Colour { kRed, kBlue };
constexpr const char* kColours[] = {"red", "blue"};

TEST(Metrics, AreThereBeforeAnythingIsCounted) {
  Metrics metrics;
  const Counters<Colour> things(metrics, {"things_total", "Things"}, "colour", kColours,
                                {{"place", "here"}});
  things[Colour::kBlue].Increment(3);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("# HELP things_total Things\n# TYPE things_total counter\n"));
  EXPECT_THAT(text, HasSubstr("things_total{colour=\"red\",place=\"here\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("things_total{colour=\"blue\",place=\"here\"} 3\n"));
}

// Edges that are computed elsewhere must be these very numbers.
TEST(Metrics, WriteEdgesAsTheyStandHere) {
  Metrics metrics;
  auto& histogram = metrics.Add<prometheus::Histogram>({"waits_seconds", "Waits", kCallEdges});
  Observe(histogram, absl::Milliseconds(10));
  Observe(histogram, absl::Seconds(700));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("waits_seconds_bucket{le=\"0.01\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("waits_seconds_bucket{le=\"655.36\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("waits_seconds_bucket{le=\"+Inf\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("waits_seconds_sum 700.01\n"));
}

TEST(Metrics, SourcesAreReadUntilTheyEnd) {
  Metrics metrics;
  double value = 1;
  {
    const Metrics::Source source = metrics.AddSource([&](Readings& to) {
      to.Gauge({"level", "Level"}, value, {{"of", "a \"quoted\"\nname"}});
      to.Gauge({"level", "Level"}, 7, {{"of", "other"}});
      to.Counter({"all_total", "All"}, 5);
    });
    value = 2;
    const std::string text = metrics.Text();
    EXPECT_THAT(text, HasSubstr("# TYPE level gauge\nlevel{of=\"a \\\"quoted\\\"\\nname\"} 2\n"
                                "level{of=\"other\"} 7\n"));
    EXPECT_THAT(text, HasSubstr("# TYPE all_total counter\nall_total 5\n"));
  }
  EXPECT_EQ(metrics.Text(), "");
}

// What a source reads may go as soon as the source has gone.
TEST(Metrics, ASourceEndsOnceNobodyReads) {
  Metrics metrics;
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) metrics.Text();
  });
  for (int i = 0; i < 1000; ++i) {
    auto there = std::make_unique<int>(i);
    const Metrics::Source source = metrics.AddSource([&](Readings& to) {
      to.Gauge({"level", "Level"}, *there);
    });
  }
  stop = true;
  reader.join();
}

TEST(CallMetrics, CountByMethodAndCode) {
  Metrics metrics;
  const CallMetrics calls(metrics,
                          *grpc::health::v1::HealthCheckRequest::descriptor()->file()->service(0));
  calls.OnEnd("Check", absl::StatusCode::kOk, "", absl::Milliseconds(30));
  calls.OnEnd("Watch", absl::StatusCode::kResourceExhausted, reason::kQueueFull, absl::Seconds(1));
  calls.OnEnd("Watch", absl::StatusCode::kOutOfRange, reason::kPromptTooLong, absl::Seconds(1));
  calls.OnEnd("Watch", absl::StatusCode::kResourceExhausted, reason::kOverLimit, absl::Seconds(1));
  calls.OnEnd("Watch", absl::StatusCode::kUnavailable, reason::kDraining, absl::Seconds(1));
  calls.OnEnd("Watch", absl::StatusCode::kResourceExhausted, reason::kServerBusy, absl::Seconds(1));
  calls.OnEnd("Watch", absl::StatusCode::kUnauthenticated, reason::kUnauthenticated,
              absl::Seconds(1));
  const std::string text = metrics.Text();
  for (const char* line : {
           "softsplice_requests_total{code=\"OK\",method=\"Check\"} 1\n",
           "softsplice_requests_total{code=\"INTERNAL\",method=\"Check\"} 0\n",
           "softsplice_requests_total{code=\"RESOURCE_EXHAUSTED\",method=\"Watch\"} 3\n",
           "softsplice_requests_total{code=\"UNAUTHENTICATED\",method=\"Watch\"} 1\n",
           "softsplice_requests_rejected_total{reason=\"queue_full\"} 1\n",
           "softsplice_requests_rejected_total{reason=\"server_busy\"} 1\n",
           "softsplice_requests_rejected_total{reason=\"too_large\"} 2\n",
           "softsplice_requests_rejected_total{reason=\"draining\"} 1\n",
           "softsplice_requests_rejected_total{reason=\"unauthenticated\"} 1\n",
           "softsplice_request_duration_seconds_bucket{method=\"Check\",le=\"0.02\"} 0\n",
           "softsplice_request_duration_seconds_bucket{method=\"Check\",le=\"0.04\"} 1\n",
           "softsplice_request_duration_seconds_count{method=\"Watch\"} 6\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

// absl names the codes; labels are those names.
TEST(CallMetrics, KnowEveryCode) {
  Metrics metrics;
  const CallMetrics calls(metrics,
                          *grpc::health::v1::HealthCheckRequest::descriptor()->file()->service(0));
  for (int code = 0; code <= 16; ++code) {
    const auto as_code = static_cast<absl::StatusCode>(code);
    calls.OnEnd("Check", as_code, "", absl::ZeroDuration());
    EXPECT_THAT(metrics.Text(),
                HasSubstr("softsplice_requests_total{code=\"" + absl::StatusCodeToString(as_code) +
                          "\",method=\"Check\"} 1\n"));
  }
}

TEST(DeviceErrors, CountByWhatWasWrong) {
  Metrics metrics;
  const DeviceErrors errors(metrics);
  errors.Note(absl::OkStatus());
  errors.Note(OutOfMemory("short"));
  errors.Note(absl::InternalError("lost"));
  errors.Note(MakeError(absl::StatusCode::kInternal, "lost", {.reason = reason::kDeviceError}));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("softsplice_device_errors_total{kind=\"out_of_memory\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("softsplice_device_errors_total{kind=\"rank_failed\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("softsplice_device_errors_total{kind=\"device_error\"} 2\n"));
}

TEST(ServiceFigures, TellNamesAsUtf8) {
  Metrics metrics;
  const Metrics::Source source = metrics.AddSource([](Readings& to) {
    Tell({.backend = "ref", .model = "bad \xff", .fingerprint = "ab", .waiting = 4}, to);
  });
  const std::string text = metrics.Text();
  EXPECT_THAT(text, Not(HasSubstr("\xff")));
  EXPECT_THAT(text, HasSubstr("backend=\"ref\",fingerprint=\"ab\",model=\"bad \xEF\xBF\xBD\""));
  EXPECT_THAT(text, HasSubstr("softsplice_requests_waiting 4\n"));
}

TEST(ProcessMetrics, TellThePhase) {
  Metrics metrics;
  LivePhase phase = Phase::kLoading;
  const ProcessMetrics process(metrics, phase);
  struct Case {
    Phase phase;
    char ready, draining;
  };
  for (const Case& c : {Case{Phase::kLoading, '0', '0'}, Case{Phase::kReady, '1', '0'},
                        Case{Phase::kStalled, '0', '0'}, Case{Phase::kDraining, '0', '1'}}) {
    phase = c.phase;
    const std::string text = metrics.Text();
    EXPECT_THAT(text, HasSubstr(std::string("softsplice_ready ") + c.ready + "\n"));
    EXPECT_THAT(text, HasSubstr(std::string("softsplice_draining ") + c.draining + "\n"));
  }
}

}  // namespace
}  // namespace softsplice
