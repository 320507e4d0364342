#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/status/error.h"
#include "common/status/reasons.h"
#include "encoder_svc/server/metrics.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

TEST(EncoderMetrics, CountMediaByKindAndStage) {
  Metrics metrics;
  const EncoderMetrics encoder(metrics);
  encoder.images.OnEncoded({.queued = absl::Milliseconds(1),
                            .preprocess = absl::Milliseconds(20),
                            .forward = absl::Milliseconds(1500)},
                           280);
  encoder.images.OnEncoded({.queued = absl::Milliseconds(1), .cache_hit = true}, 280);
  encoder.images.OnSent(absl::Milliseconds(3));
  encoder.sounds.OnEncoded({}, 25);
  encoder.sounds.OnRefused(
      MakeError(absl::StatusCode::kInvalidArgument, "no sound", {.reason = reason::kInvalidMedia}));
  encoder.sounds.OnRefused(absl::CancelledError("no fault of the sound's"));
  const std::string text = metrics.Text();
  for (const char* line : {
           "queue_seconds_count{method=\"EncodeImage\"} 2",
           "encode_seconds_count{kind=\"image\",stage=\"queue\"} 2",
           "encode_seconds_count{kind=\"image\",stage=\"preprocess\"} 1",
           "encode_seconds_sum{kind=\"image\",stage=\"forward\"} 1.5",
           "encode_seconds_count{kind=\"image\",stage=\"send\"} 1",
           "encode_seconds_count{kind=\"audio\",stage=\"forward\"} 1",
           "encoded_rows_total{kind=\"image\"} 280",
           "encoded_rows_total{kind=\"audio\"} 25",
           "media_rejected_total{kind=\"audio\",reason=\"invalid_media\"} 1",
           "media_rejected_total{kind=\"audio\",reason=\"over_limit\"} 0",
           "media_rejected_total{kind=\"image\",reason=\"invalid_media\"} 0",
       }) {
    EXPECT_THAT(text, HasSubstr(std::string("\nsoftsplice_") + line + "\n"));
  }
}

}  // namespace
}  // namespace softsplice
