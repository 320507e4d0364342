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

// A step that read rows of that weight took `stall` longer than one that only writes.
void Pace::Correct(double weight, double stall) {
  constexpr double kMostCut = 0.5;  // by one step, which may have been late by chance
  constexpr double kLeast = 1.0 / 64;
  constexpr double kGrowth = 1.05;
  constexpr double kAim = 0.8;  // of the target: no two steps are alike
  constexpr double kCalm = 0.7;
  const double target = absl::ToDoubleSeconds(stall_target_);
  if (stall > kAim * target) {
    part_ = std::max(kLeast, part_ * std::max(kMostCut, kAim * target / stall));
  } else if (stall < kCalm * target && weight >= rows_per_second() * target / 2) {
    part_ = std::min(1.0, part_ * kGrowth);  // steps of few rows say nothing of larger ones
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
