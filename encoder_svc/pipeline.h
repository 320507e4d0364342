// The way of all media through the encoder: let in or refused, decoded on some threads under a
// memory budget, then encoded, in the order they become ready, on one for each device.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "encoder_svc/backlog.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/job_queue.h"
#include "encoder_svc/medium.h"
#include "encoder_svc/tally.h"

namespace softsplice {

// Thread-safe. A medium that was let in is told its end once: by the last step's answer, or by
// Medium::Tell() with the error that ended it. When it is cancelled while it waits, that is at
// once, and its place is free. Outlives the media.
class Pipeline {
 public:
  using SharedMedium = std::shared_ptr<Medium>;
  using Answer = JobQueue::Answer;
  // Part of the work on a medium. An error is the medium's end, as is memory that runs out. The
  // answer is called outside of the queues' books, on the same thread.
  using Step = absl::AnyInvocable<absl::StatusOr<Answer>()>;
  // The same on several media at once, none of them given up; an error is the end of all.
  using Media = std::vector<SharedMedium>;
  using StepOfAll = absl::AnyInvocable<absl::StatusOr<Answer>(const Media&)>;
  // Which media a tower may take together, and how many at most.
  struct Alike {
    uint64_t kind = 0;
    int together = 1;
  };

  // `towers`: threads that encode at the same time.
  explicit Pipeline(const EncoderOptions& options, int towers = 1);
  ~Pipeline() { Shutdown(); }

  // What a medium's decoding takes: `bytes`, no more than there are, and (`fenced`) a process of
  // its own; and what it will cost its tower, as far as is known. `lasting`: some bytes are kept
  // until a receiver has read all.
  struct Cost {
    Tower tower = Tower::kImage;
    int rows = 0;
    uint64_t bytes = 0;
    bool lasting = false;
    bool fenced = false;
  };
  // Lets a medium in, and does `step` with what it takes when its turn comes.
  // RESOURCE_EXHAUSTED with a retry delay: too many wait, or it would wait for too long.
  // DEADLINE_EXCEEDED, CANCELLED. UNAVAILABLE: after Shutdown.
  absl::Status Decode(const SharedMedium& medium, const Cost& cost, Step step);
  // Does `step` on a thread of the towers when the turn of the medium comes, whatever waits: it was
  // let in before. Those that are alike come with it, and their own steps are not done.
  void Encode(const SharedMedium& medium, Alike alike, StepOfAll step);

  // Between two steps of a sound whose receiver decides when to go on: Offer(), then tell the
  // receiver, then Park(). The receiver's word is Leave(), which may come from any thread in
  // between. Where one of the two gives true, its caller goes on with the next step.
  void Offer(Medium& medium);
  bool Park(Medium& medium);
  static bool Leave(Medium& medium);

  Backlog& backlog() { return backlog_; }
  EncoderLoadFigures load() const;
  // Since when the longest step has been going on (see JobQueue::busy_since).
  absl::Duration busy_since() const;
  // Finishes what was let in but for what is parked, and joins the threads. Idempotent.
  void Shutdown();

 private:
  absl::Status CheckRoom(const Medium& medium) const;
  // What is left to tell of media on which a step was done.
  static Answer Conclude(const Media& media, absl::StatusOr<Answer> answer);
  static Answer DoTogether(const SharedMedium& first, const std::vector<JobQueue::Owner>& with,
                           StepOfAll& step);
  // Ends a medium that waits for whatever it waits; any other sees for itself.
  void TakeOut(Medium& medium);
  void TakeOutIfCancelled(Medium& medium);
  static void End(Medium& medium, const absl::Status& status);
  static void EndAll(const Media& media, const absl::Status& status);

  const EncoderOptions options_;
  Backlog backlog_;
  Tally places_;
  Tally parked_;
  std::mutex admission_;
  JobQueue towers_;
  JobQueue decoders_;  // last: its threads use all of the above
};

}  // namespace softsplice
