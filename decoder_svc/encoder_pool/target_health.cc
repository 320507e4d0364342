#include "decoder_svc/encoder_pool/target_health.h"

#include <algorithm>

namespace softsplice {
namespace {

// Enough to keep it busy; the rest waits here, where it can go elsewhere.
constexpr int kRoom = 8;
constexpr absl::Duration kMinBackOff = absl::Seconds(1);
constexpr absl::Duration kMaxBackOff = absl::Seconds(60);
// A delay is an estimate: it is not believed for longer.
constexpr absl::Duration kMinFull = absl::Milliseconds(50);
constexpr absl::Duration kMaxFull = absl::Seconds(5);
constexpr double kNewest = 0.3;  // the newest medium's part of the error rate
constexpr double kFewErrors = 0.2;

}  // namespace

void TargetHealth::Answered(const v1::GetEncoderInfoResponse& info, const absl::Status& foreign) {
  away_ = absl::OkStatus();
  missed_ = 0;
  foreign_ = foreign;
  max_queue_ = static_cast<int>(std::min<uint32_t>(info.limits().max_queue(), kRoom));
}

void TargetHealth::Missed(absl::Duration now) {
  ++missed_;
  if (silent()) Lost(absl::UnavailableError("it does not answer"), now);
}

void TargetHealth::Lost(const absl::Status& cause, absl::Duration now) {
  if (away_.ok()) away_since_ = now;
  away_ = absl::UnavailableError(cause.message().empty() ? absl::StatusCodeToString(cause.code())
                                                         : cause.message());
  foreign_ = absl::OkStatus();
}

void TargetHealth::Succeeded() {
  error_rate_ -= error_rate_ * kNewest;
  if (error_rate_ < kFewErrors) back_off_ = absl::ZeroDuration();
}

void TargetHealth::Failed(const absl::Status& status, absl::Duration now) {
  error_rate_ += (1 - error_rate_) * kNewest;
  failure_ = status;
  // Those that fail together fail for one cause.
  if (now < rests_until_) return;
  back_off_ = std::clamp(2 * back_off_, kMinBackOff, kMaxBackOff);
  rests_until_ = now + back_off_;
}

void TargetHealth::Full(const absl::Status& status, absl::Duration delay, absl::Duration now) {
  full_ = status;
  full_until_ = now + std::clamp(delay, kMinFull, kMaxFull);
}

v1::EncoderState TargetHealth::state(absl::Duration now) const {
  if (!away_.ok()) return v1::ENCODER_STATE_AWAY;
  if (!foreign_.ok()) return v1::ENCODER_STATE_FOREIGN;
  if (now < full_until_) return v1::ENCODER_STATE_FULL;
  if (back_off_ > absl::ZeroDuration()) return v1::ENCODER_STATE_FAILING;
  return v1::ENCODER_STATE_HEALTHY;
}

absl::Status TargetHealth::why(absl::Duration now) const {
  switch (state(now)) {
    case v1::ENCODER_STATE_AWAY:
      return away_;
    case v1::ENCODER_STATE_FOREIGN:
      return foreign_;
    case v1::ENCODER_STATE_FULL:
      return full_;
    case v1::ENCODER_STATE_FAILING:
      return failure_;
    default:
      return absl::OkStatus();
  }
}

bool TargetHealth::just_lost(absl::Duration now) const {
  return !away_.ok() && now - away_since_ < kGrace;
}

int TargetHealth::room() const { return max_queue_ > 0 ? max_queue_ : kRoom; }

}  // namespace softsplice
