// One medium on its way through the encoders.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "common/time/steady.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/encoder_pool/soft_tokens.h"
#include "decoder_svc/encoder_pool/target.h"

namespace softsplice {

// What came of one attempt.
struct Outcome {
  absl::StatusOr<EncodedMedium> medium;
  bool final = false;  // the error is not the encoder's: another one does not help
};

// Owned by the caller, the pool's line and, while an encoder has it, by its attempt.
class PoolCall final : public EncoderPool::Call, public std::enable_shared_from_this<PoolCall> {
 public:
  PoolCall(EncoderPool* pool, EncodeJob job, EncoderPool::Done done, absl::Duration now);
  ~PoolCall() override;

  void Cancel() override;
  bool cancelled() const { return cancelled_; }

  // Sends it to `target`; the outcome goes to the pool.
  void Start(std::shared_ptr<Target> target);
  enum class Why { kSilent, kSlow };
  // Ends the attempt at `target`, if it is under way: it does not answer, or takes too long.
  void Leave(const Target& target, Why why);
  // SteadyNow() when a message came last, or an encoder was given the job.
  absl::Duration heard() const { return absl::Nanoseconds(heard_.load()); }
  void Hear() { heard_ = absl::ToInt64Nanoseconds(SteadyNow()); }
  // Calls `done`; the last that happens to it.
  void End(absl::StatusOr<EncodedMedium> medium);

  const void* request() const { return job_.request; }
  absl::Duration deadline() const { return job_.deadline; }

  // For the pool, guarded by its mutex.
  absl::Duration wait_until;            // in its line
  bool admitted = false;                // to its line
  int tries = 0;                        // that failed
  std::map<std::string, int> failures;  // of them, by address
  absl::Status last_failure;            // as the client hears of it
  std::optional<Blame> sent_back_for;   // an encoder had it before, and that was to blame

 private:
  class Attempt;
  template <class Request, class Response>
  class Stream;

  std::unique_ptr<Attempt> MakeAttempt(std::shared_ptr<Target> target);
  // Whether it is what the job's owner was told, if that was told anything.
  absl::Status CheckRows(const v1::SoftTokensHeader& header) const;
  absl::Status TellHeader(const v1::SoftTokensHeader& header);
  void TellRuns(const EncodedMedium& so_far);
  void OnAttempt(const std::shared_ptr<Target>& target, Outcome outcome);

  EncoderPool* const pool_;
  // Their functions are empty once done was called: they may own what owns this.
  EncodeJob job_;
  EncoderPool::Done done_;
  const absl::Duration start_;
  uint32_t told_rows_ = 0;  // to on_header; 0: nothing yet

  std::atomic<bool> cancelled_ = false;
  std::atomic<int64_t> heard_ = 0;
  std::mutex mutex_;
  std::unique_ptr<Attempt> attempt_;  // under way
};

}  // namespace softsplice
