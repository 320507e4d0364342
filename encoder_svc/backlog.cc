#include "encoder_svc/backlog.h"

namespace softsplice {

void Backlog::Measured(Tower tower, int rows, absl::Duration span) {
  // A pass in four passes: recent enough to follow a machine that others use too.
  constexpr double kNew = 0.25;
  const double measured = absl::ToDoubleNanoseconds(span) / rows;
  const std::lock_guard lock(mutex_);
  double& known = nanoseconds_per_row_[static_cast<size_t>(tower)];
  known = known == 0 ? measured : known + kNew * (measured - known);
}

uint64_t Backlog::Estimate(Tower tower, int rows) const {
  const std::lock_guard lock(mutex_);
  return static_cast<uint64_t>(nanoseconds_per_row_[static_cast<size_t>(tower)] * rows);
}

}  // namespace softsplice
