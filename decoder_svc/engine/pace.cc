// See pace.h.
#include "decoder_svc/engine/pace.h"

#include <algorithm>

namespace softsplice {

void Pace::Average::Add(double sample) {
  constexpr double kWeight = 1.0 / 8;
  value_ = known_ ? value_ + kWeight * (sample - value_) : sample;
  known_ = true;
}

void Pace::OnStep(const PromptRows& read, int writing, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  if (read.count == 0) return seconds_per_token_.Add(seconds);
  if (seconds <= 0) return;
  seconds_per_row_.Add(seconds / read.count);
  best_rows_per_second_ = std::max(best_rows_per_second_, read.count / seconds);
  if (writing > 0) Correct(row_cost_.Weight(read), seconds - seconds_per_token_.value());
  row_cost_.Add(read, seconds);
}

// A step that read rows of that weight took `stall` longer than one that only writes. One step in
// 144 loses what all others win back: however much they differ, no more than that are late.
void Pace::Correct(double weight, double stall) {
  constexpr double kMostCut = 0.5;  // by one step, which may have been late by chance
  constexpr double kLeastCut = 0.75;
  constexpr double kGrowth = 1.002;  // to the power of 144: what the least cut took
  constexpr double kLeast = 1.0 / 64;
  constexpr double kAim = 0.9;   // of the target
  constexpr double kCalm = 0.4;  // where time is wasted
  constexpr double kCalmGrowth = 1.05;
  const double target = absl::ToDoubleSeconds(stall_target_);
  if (stall > kAim * target) {
    part_ = std::max(kLeast, part_ * std::clamp(kAim * target / stall, kMostCut, kLeastCut));
  } else if (weight >= rows_per_second() * target / 2) {  // few rows say nothing of more
    part_ = std::min(1.0, part_ * (stall < kCalm * target ? kCalmGrowth : kGrowth));
  }
}

void Pace::OnEnd(int prompt_tokens, int completion_tokens) {
  prompt_.Add(prompt_tokens);
  answer_.Add(completion_tokens);
}

Pace::Work Pace::Left(int unread, int most) const {
  return {static_cast<double>(unread), std::min<double>(most, answer_.value())};
}

absl::Duration Pace::TimeFor(const Work& work, int at_once) const {
  return absl::Seconds(work.rows * seconds_per_row_.value() +
                       work.tokens * seconds_per_token_.value() / at_once);
}

}  // namespace softsplice
