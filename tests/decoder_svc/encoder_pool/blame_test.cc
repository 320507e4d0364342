#include "decoder_svc/encoder_pool/blame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

using Code = absl::StatusCode;

// With its reason, as an encoder of ours says it.
absl::Status Own(Code code, const char* reason, absl::Duration retry_after = {}) {
  return MakeError(code, "why", {.reason = reason, .retry_after = retry_after});
}

TEST(Blame, TellsTheMediumsFaultsFromTheEncoders) {
  struct Case {
    absl::Status status;
    Blame blame;
    Code code;  // that the client sees
    const char* reason;
  };
  const absl::Duration delay = absl::Seconds(2);
  const std::vector<Case> cases = {
      {Own(Code::kInvalidArgument, "INVALID_MEDIA"), Blame::kMedium, Code::kInvalidArgument,
       "INVALID_MEDIA"},
      {Own(Code::kOutOfRange, "PROMPT_TOO_LONG"), Blame::kMedium, Code::kOutOfRange,
       "PROMPT_TOO_LONG"},
      {Own(Code::kResourceExhausted, "OVER_LIMIT"), Blame::kMedium, Code::kResourceExhausted,
       "OVER_LIMIT"},
      {Own(Code::kFailedPrecondition, "NO_TOWER"), Blame::kMedium, Code::kFailedPrecondition,
       "NO_TOWER"},
      {Own(Code::kResourceExhausted, "QUEUE_FULL", delay), Blame::kFull, Code::kResourceExhausted,
       "QUEUE_FULL"},
      {Own(Code::kFailedPrecondition, "FOREIGN_ENCODER"), Blame::kForeign,
       Code::kFailedPrecondition, "FOREIGN_ENCODER"},
      {Own(Code::kUnavailable, "DRAINING", delay), Blame::kFailing, Code::kUnavailable,
       "ENCODER_UNAVAILABLE"},
      {Own(Code::kInternal, "MODEL_NOT_FINITE"), Blame::kFailing, Code::kInternal,
       "MODEL_NOT_FINITE"},
      {Own(Code::kUnimplemented, "NOT_SUPPORTED"), Blame::kFailing, Code::kInternal,
       "ENCODER_FAILED"},
      // gRPC's own: a message over a limit between the two services, a connection that is gone.
      {absl::ResourceExhaustedError("larger than max"), Blame::kFailing, Code::kInternal,
       "ENCODER_FAILED"},
      {absl::InvalidArgumentError("why"), Blame::kFailing, Code::kInternal, "ENCODER_FAILED"},
      {absl::OutOfRangeError("why"), Blame::kFailing, Code::kInternal, "ENCODER_FAILED"},
      {absl::FailedPreconditionError("why"), Blame::kFailing, Code::kInternal, "ENCODER_FAILED"},
      {absl::UnimplementedError("why"), Blame::kFailing, Code::kInternal, "ENCODER_FAILED"},
      {absl::UnknownError("why"), Blame::kFailing, Code::kInternal, "ENCODER_FAILED"},
      {absl::UnavailableError("Socket closed"), Blame::kAway, Code::kUnavailable,
       "ENCODER_UNAVAILABLE"},
      {absl::CancelledError("why"), Blame::kAway, Code::kUnavailable, "ENCODER_UNAVAILABLE"},
      {absl::DeadlineExceededError("why"), Blame::kTooSlow, Code::kUnavailable, "ENCODER_TOO_SLOW"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(BlameFor(c.status), c.blame) << c.status;
    const absl::Status told = ForClient("here", c.status);
    EXPECT_EQ(told.code(), c.code) << c.status;
    EXPECT_EQ(GetErrorDetail(told).reason, c.reason) << c.status;
    // Whom to look at, if it is not the medium.
    const bool named = testing::Value(std::string(told.message()), testing::HasSubstr("at here"));
    EXPECT_EQ(named, c.code == Code::kInternal || c.code == Code::kUnavailable) << told;
    // The catalogue knows the reason, with this code.
    bool listed = false;
    for (const reason::Reason& reason : reason::kReasons) {
      listed |= reason.name == GetErrorDetail(told).reason && reason.code == told.code();
    }
    EXPECT_TRUE(listed) << told;
  }
}

}  // namespace
}  // namespace softsplice
