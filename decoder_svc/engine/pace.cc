// See pace.h.
#include "decoder_svc/engine/pace.h"

#include <algorithm>

namespace softsplice {

void Pace::Average::Add(double sample) {
  constexpr double kWeight = 1.0 / 8;
  value_ = known_ ? value_ + kWeight * (sample - value_) : sample;
  known_ = true;
}

void Pace::OnStep(int prompt_rows, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  if (prompt_rows > 0) {
    seconds_per_row_.Add(seconds / prompt_rows);
    if (seconds > 0) {
      best_rows_per_second_ = std::max(best_rows_per_second_, prompt_rows / seconds);
    }
  } else {
    seconds_per_token_.Add(seconds);
  }
}

void Pace::OnEnd(int prompt_tokens, int completion_tokens) {
  prompt_.Add(prompt_tokens);
  answer_.Add(completion_tokens);
}

absl::Duration Pace::Left(int unread, int most) const {
  return absl::Seconds(unread * seconds_per_row_.value() +
                       std::min<double>(most, answer_.value()) * seconds_per_token_.value());
}

absl::Duration Pace::Typical() const {
  return absl::Seconds(prompt_.value() * seconds_per_row_.value() +
                       answer_.value() * seconds_per_token_.value());
}

}  // namespace softsplice
