// How one encoder does, from what it answers: whether it is used, for how many calls at once.
#pragma once

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "softsplice/v1/decoder.pb.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// Not thread-safe. Times are SteadyNow()'s.
class TargetHealth {
 public:
  // What one that was lost gets to come back, or to be replaced, before media are given up.
  static constexpr absl::Duration kGrace = absl::Seconds(2);

  // Away, not having answered yet.
  explicit TargetHealth(absl::Duration now) : away_since_(now) {}

  // It said who it is. `foreign` is OK, or why its rows are of no use.
  void Answered(const v1::GetEncoderInfoResponse& info, const absl::Status& foreign);
  // It did not say so in time: a busy machine may answer late, so it takes several.
  void Missed(absl::Duration now);
  // It can't be reached.
  void Lost(const absl::Status& cause, absl::Duration now);
  // How a medium ended there.
  void Succeeded();
  void Failed(const absl::Status& status, absl::Duration now);
  void Full(const absl::Status& status, absl::Duration delay, absl::Duration now);

  v1::EncoderState state(absl::Duration now) const;
  // It was reached, and is of the right model.
  bool usable() const { return away_.ok() && foreign_.ok(); }
  // Why it is not healthy; OK if it is.
  absl::Status why(absl::Duration now) const;
  // It may be healthy or away, but it does not answer.
  bool silent() const { return missed_ >= kMaxMissed; }
  // It may be back in a moment.
  bool just_lost(absl::Duration now) const;
  // Failing, and left alone for a while; afterwards a medium at a time finds out how it does.
  bool resting(absl::Duration now) const { return now < rests_until_; }
  // How long it takes nothing.
  absl::Duration full_for(absl::Duration now) const {
    return std::max(full_until_ - now, absl::ZeroDuration());
  }
  // Media that it may have at once.
  int room() const;

 private:
  static constexpr int kMaxMissed = 3;

  absl::Status away_ = absl::UnavailableError("it has not answered yet");  // OK: it was reached
  absl::Duration away_since_;
  int missed_ = 0;  // probes in a row without an answer in time
  absl::Status foreign_;
  absl::Status full_;
  absl::Duration full_until_ = -absl::InfiniteDuration();
  absl::Status failure_;  // the last one
  absl::Duration rests_until_ = -absl::InfiniteDuration();
  absl::Duration back_off_ = absl::ZeroDuration();  // more than that: it is failing
  double error_rate_ = 0;                           // of the latest media, the newest counting most
  int max_queue_ = 0;                               // 0: it did not say
};

}  // namespace softsplice
