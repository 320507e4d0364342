// Brings a request's media to their rows: pictures, sounds and videos through the encoders, some at
// a time; soft tokens by checking them.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/server/context.h"
#include "decoder_svc/server/prompt.h"

namespace softsplice {

struct MediaOptions {
  bool header_only = false;  // rows are only counted; soft tokens are checked all the same
  // Those that were encoded before come without values, if the engine may have theirs; they are
  // known to requests of the same scope.
  bool take_known = false;
  bool remember = false;  // what is encoded now
  std::string scope;
  // Called, from any thread, with all media before the first one that is not there yet, and with
  // that one if some of its runs are: at the start and whenever there may be more; not with all.
  // May be empty.
  std::function<void(std::vector<EncodedMedium>)> on_beginning;
  int max_rows = 0;  // of all together; more are refused before they are encoded; 0: no limit
  absl::Duration deadline = absl::InfiniteDuration();  // of SteadyNow
  std::string request_id;
  std::string traceparent;
};

// The media of one request. Thread-safe.
class MediaBatch : public std::enable_shared_from_this<MediaBatch> {
 public:
  // In the request's order, or the error of the first that failed, its field within the request.
  using Done = std::function<void(absl::StatusOr<std::vector<EncodedMedium>>)>;

  MediaBatch(const DecoderContext& context, std::vector<MediumSource> sources, MediaOptions options)
      : context_(context),
        sources_(std::move(sources)),
        options_(std::move(options)),
        lease_(context.calls.border.NewLease()) {}

  // Call it once. `done` is called exactly once, from any thread or before return. What the sources
  // point to must live until then.
  void Start(Done done);
  // How many of the media have their rows.
  size_t encoded() const;
  // `done` comes soon, with CANCELLED if it has not come yet.
  void Cancel();

 private:
  absl::StatusOr<EncodedMedium> ReadSoft(const v1::SoftTokens& soft_tokens) const;
  // What came with the request, or is known; nothing where an encoder is to be asked.
  absl::StatusOr<std::optional<EncodedMedium>> WithoutEncoder(size_t index);
  // The next medium to be encoded, which is in work from now on. Call it with the mutex.
  std::optional<size_t> TakeNext();
  void Encode(size_t index);
  // Of one more medium, as soon as they are known.
  absl::Status AddRows(const v1::SoftTokensHeader& header);
  // The same of one that is being encoded: its values will come.
  absl::Status OnHeader(size_t index, const v1::SoftTokensHeader& header);
  void OnRuns(size_t index, const EncodedMedium& so_far);
  // RESOURCE_EXHAUSTED (SERVER_BUSY): calls occupy too much already.
  absl::Status HoldValues(uint64_t values);
  void OnMedium(size_t index, absl::StatusOr<EncodedMedium> medium);
  void CancelLocked();
  void TellBeginning();
  // Calls done_ and lets go of it: it may hold what holds this.
  void Tell(absl::StatusOr<std::vector<EncodedMedium>> media) {
    std::exchange(done_, nullptr)(std::move(media));
  }

  const DecoderContext& context_;
  const std::vector<MediumSource> sources_;
  const MediaOptions options_;
  Done done_;

  mutable std::mutex mutex_;
  std::vector<EncodedMedium> media_;  // as far as they are there
  std::vector<std::string> keys_;     // of KnownMedia, by medium; empty: it is not to be known
  std::vector<bool> there_;           // by medium
  size_t first_missing_ = 0;
  std::vector<std::shared_ptr<EncoderPool::Call>> calls_;  // by medium, while it is in work
  // By medium, while it is in work: its file on the way to an encoder, its rows on the way back.
  std::vector<Border::Lease> copies_;
  Border::Lease lease_;  // of all values, as long as the batch is there
  absl::Status status_;  // the first error
  size_t next_ = 0;      // not looked at yet
  size_t in_work_ = 0;
  size_t pending_ = 0;  // in work or still to be
  uint64_t rows_ = 0;   // of those whose header came
  bool cancelled_ = false;
};

}  // namespace softsplice
