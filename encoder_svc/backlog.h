// How long the towers will be busy with what is on its way to them, from how long they took before.
#pragma once

#include <mutex>

#include "absl/time/time.h"
#include "encoder_svc/tally.h"

namespace softsplice {

enum class Tower { kImage, kAudio };

// Thread-safe; outlives the work.
class Backlog {
 public:
  // `devices`: share what there is to do.
  explicit Backlog(int devices = 1) : devices_(devices) {}

  // Work for a tower, on its way until this is dropped.
  using Work = Tally::Part;

  Work Add(Tower tower, int rows) { return nanoseconds_.Add(Estimate(tower, rows)); }
  // A pass of so many rows took `span`: the estimate moves towards it.
  void Measured(Tower tower, int rows, absl::Duration span);
  // What there is to do before something that comes now.
  absl::Duration Ahead() const {
    return absl::Nanoseconds(static_cast<int64_t>(nanoseconds_.total())) / devices_;
  }

 private:
  uint64_t Estimate(Tower tower, int rows) const;

  const int devices_;
  Tally nanoseconds_;
  mutable std::mutex mutex_;
  double nanoseconds_per_row_[2] = {0, 0};  // of each tower; 0: not known yet
};

}  // namespace softsplice
