// A picture, sound or video on its way through the encoder.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "encoder_svc/backlog.h"
#include "encoder_svc/cancel_token.h"
#include "encoder_svc/tally.h"

namespace softsplice {

// Belongs to one thread at a time: who added it, the thread that works on it, or who took it out.
struct Medium {
  Medium(std::shared_ptr<CancelToken> token, absl::Duration until)
      : cancel(std::move(token)), needed_by(until) {}
  virtual ~Medium() = default;
  Medium(const Medium&) = delete;
  Medium& operator=(const Medium&) = delete;

  // Tells its receiver, for whom it's the last word.
  virtual void Tell(const absl::Status& end) = 0;

  // Whether anybody still waits for it. Any thread.
  absl::Status CheckWanted() const { return cancel->cancelled() ? Cancelled() : absl::OkStatus(); }
  static absl::Status Cancelled() {
    return MakeError(absl::StatusCode::kCancelled, "the request was cancelled",
                     {.reason = reason::kCancelled});
  }
  static absl::Status Late() {
    return MakeError(absl::StatusCode::kDeadlineExceeded,
                     "the deadline passed before the medium was encoded",
                     {.reason = reason::kDeadlineExceeded});
  }
  // Gives back all that it takes of the encoder.
  void Release() {
    place = {};
    parked = {};
    work = {};
    memory = {};
  }

  const std::shared_ptr<CancelToken> cancel;
  const absl::Duration needed_by;  // SteadyNow(): not let in if its turn will not come by then
  absl::Duration since;            // waits for its turn
  absl::Duration queued;           // waited so far
  Tally::Part memory;              // from its decoding on
  Backlog::Work work;              // until its pass is over

  // Of a sound that waits for its receiver between two segments.
  enum class Parking { kOffered, kParked, kLeft };
  std::atomic<Parking> parking = Parking::kLeft;
  Tally::Part parked;

  Tally::Part place;  // while it waits, is decoded or parked; the first to go
};

}  // namespace softsplice
