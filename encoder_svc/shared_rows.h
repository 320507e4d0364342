// Who waits for which medium's rows: a medium that several calls want is encoded once, and what was
// encoded is kept for those that come later.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "encoder_svc/cancel_token.h"
#include "encoder_svc/deadlines.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/rows_cache.h"

namespace softsplice {

// Thread-safe; calls nobody under its lock. Outlives the passes and what they were given.
class SharedRows {
 public:
  // Where the rows of one medium go as it is encoded, in the order layout (of a sound), rows of
  // each segment, done; one at a time. `next` as in RecordingCallbacks. An error ends it at any
  // time.
  struct Sink {
    std::function<void(RecordingLayout)> layout;
    std::function<void(std::vector<float> values, std::function<void()> next)> rows;
    std::function<void(const absl::Status&, const EncodeTimings&)> done;
  };

  // What one call wants, and how it gets there if no other call wants the same.
  struct Wish {
    std::optional<Digest> digest;  // none: this is not for others
    uint64_t bytes = 0;            // of all rows; 0: that is not known yet
    std::shared_ptr<CancelToken> cancel;
    absl::Duration deadline = absl::InfiniteDuration();  // of SteadyNow
    RecordingCallbacks to;                               // of a picture: without a layout
    // Begins to encode; the sink is told the end once, unless the medium was refused. It goes on
    // until `cancel`, which is cancelled when nobody wants the rows any more.
    absl::AnyInvocable<absl::Status(std::shared_ptr<CancelToken> cancel, Sink sink)> begin;
  };

  // `cache_bytes`: 0 keeps nothing and shares nothing. `dim`: of the rows.
  SharedRows(uint64_t cache_bytes, int dim);

  // Gives the rows to `wish.to` as they come, at its own pace: those that are here before return.
  // It ends with the pass's error, with CANCELLED before Cancel() returns, or with
  // DEADLINE_EXCEEDED when the rows are not complete by then. A pass whose rows are kept does not
  // wait for those who read them; any other waits for the slowest.
  void Read(Wish wish);

  // Passes that wait for their readers go on, to learn that there is nobody to encode any more.
  void ResumeAll();

  // Adds what is known here.
  void AddTo(EncoderLoadFigures& load) const;

 private:
  struct Pass;
  struct Reader;
  using SharedPass = std::shared_ptr<Pass>;
  using SharedReader = std::shared_ptr<Reader>;

  // What a reader is to be told next.
  struct Event {
    enum { kNone, kLayout, kRows, kLastRows, kDone } kind = kNone;
    std::shared_ptr<const MediumRows> of;
    Values values;
    absl::Status end;
    EncodeTimings timings;
  };

  // Under mutex_.
  SharedPass Find(const Digest& digest);
  SharedPass Admit(const SharedReader& reader, const Wish& wish);
  void TryToKeep(Pass& pass, uint64_t bytes);
  void Forget(Pass& pass);
  Event NextFor(Reader& reader);

  Sink SinkOf(const SharedPass& pass);
  void OnLayout(const SharedPass& pass, RecordingLayout layout);
  void OnRows(const SharedPass& pass, std::vector<float> values, std::function<void()> next);
  void OnDone(const SharedPass& pass, const absl::Status& end, const EncodeTimings& timings);

  // Tells the reader what there is for it, unless another thread is at it.
  void Feed(const SharedReader& reader);
  void Tell(const SharedReader& reader, Event& event);
  void FeedAll(const SharedPass& pass);
  // The reader has room again.
  void Ask(const SharedReader& reader);
  void Leave(const SharedReader& reader, const absl::Status& why);
  // Lets a held pass go on if none of its readers has to read first.
  void Resume(const SharedPass& pass);
  uint64_t BytesOf(int rows) const;

  const uint64_t dim_;
  mutable std::mutex mutex_;
  RowsCache cache_;
  const bool sharing_;
  std::map<Digest, SharedPass> passes_;  // that others may come to
  std::map<const Pass*, std::function<void()>> held_;
  uint64_t hits_ = 0, misses_ = 0;
  Deadlines deadlines_;  // last: its thread uses all of the above
};

}  // namespace softsplice
