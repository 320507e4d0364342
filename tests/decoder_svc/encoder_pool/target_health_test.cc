#include "decoder_svc/encoder_pool/target_health.h"

#include <gtest/gtest.h>

namespace softsplice {
namespace {

absl::Duration At(double seconds) { return absl::Seconds(seconds); }

const absl::Status kOops = absl::InternalError("oops");

class Health : public testing::Test {
 protected:
  void Answer() { health_.Answered(info_, absl::OkStatus()); }
  v1::EncoderState state(double second) const { return health_.state(At(second)); }

  v1::GetEncoderInfoResponse info_;
  TargetHealth health_{At(0)};
};

TEST_F(Health, IsAwayUntilItAnswers) {
  EXPECT_EQ(state(0), v1::ENCODER_STATE_AWAY);
  EXPECT_TRUE(health_.just_lost(At(1)));
  EXPECT_FALSE(health_.just_lost(At(10)));
  Answer();
  EXPECT_EQ(state(10), v1::ENCODER_STATE_HEALTHY);
  EXPECT_TRUE(health_.why(At(10)).ok());
  health_.Lost(absl::UnavailableError("gone"), At(20));
  EXPECT_EQ(state(20), v1::ENCODER_STATE_AWAY);
  EXPECT_EQ(health_.why(At(20)).message(), "gone");
  // Since the first time, however often it is asked.
  health_.Lost(absl::UnavailableError("gone"), At(29));
  EXPECT_FALSE(health_.just_lost(At(30)));
  health_.Answered(info_, absl::FailedPreconditionError("of another model"));
  EXPECT_EQ(state(30), v1::ENCODER_STATE_FOREIGN);
}

TEST_F(Health, OneLateAnswerIsNoFailure) {
  Answer();
  health_.Missed(At(1));
  health_.Missed(At(2));
  EXPECT_EQ(state(2), v1::ENCODER_STATE_HEALTHY);
  EXPECT_FALSE(health_.silent());
  health_.Missed(At(3));
  EXPECT_EQ(state(3), v1::ENCODER_STATE_AWAY);
  EXPECT_TRUE(health_.silent());
  Answer();
  EXPECT_EQ(state(4), v1::ENCODER_STATE_HEALTHY);
  EXPECT_FALSE(health_.silent());
}

TEST_F(Health, FailuresMakeItWaitLongerAndLonger) {
  Answer();
  double second = 0;
  double last = 0;
  for (int i = 0; i < 10; ++i) {
    health_.Failed(kOops, At(second));
    EXPECT_EQ(state(second), v1::ENCODER_STATE_FAILING);
    EXPECT_EQ(health_.why(At(second)), kOops);
    double pause = 0;
    while (health_.resting(At(second + pause))) pause += 0.5;
    EXPECT_GE(pause, last);
    EXPECT_LE(pause, 61);
    last = pause;
    second += pause;
  }
  EXPECT_GE(last, 59);
  // One success of many failures proves little, some in a row do.
  health_.Succeeded();
  EXPECT_EQ(state(second), v1::ENCODER_STATE_FAILING);
  for (int i = 0; i < 8; ++i) health_.Succeeded();
  EXPECT_EQ(state(second), v1::ENCODER_STATE_HEALTHY);
  health_.Failed(kOops, At(second));
  EXPECT_FALSE(health_.resting(At(second + 1.5)));
}

TEST_F(Health, FailuresAtOnceAreOneFailure) {
  Answer();
  for (int i = 0; i < 8; ++i) health_.Failed(kOops, At(0));
  EXPECT_FALSE(health_.resting(At(1.5)));
}

TEST_F(Health, HonoursTheDelayOfAFullQueueWithinReason) {
  Answer();
  health_.Full(absl::ResourceExhaustedError("full"), At(2), At(0));
  EXPECT_EQ(state(1.9), v1::ENCODER_STATE_FULL);
  EXPECT_EQ(state(2.1), v1::ENCODER_STATE_HEALTHY);
  health_.Full(absl::ResourceExhaustedError("full"), absl::InfiniteDuration(), At(10));
  EXPECT_EQ(state(60), v1::ENCODER_STATE_HEALTHY);
}

TEST_F(Health, HasRoomForSomeButNoMoreThanItsQueue) {
  Answer();
  EXPECT_EQ(health_.room(), 8);
  info_.mutable_limits()->set_max_queue(4'000'000'000u);
  Answer();
  EXPECT_EQ(health_.room(), 8);
  info_.mutable_limits()->set_max_queue(2);
  Answer();
  EXPECT_EQ(health_.room(), 2);
}

}  // namespace
}  // namespace softsplice
