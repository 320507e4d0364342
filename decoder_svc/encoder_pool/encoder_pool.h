// The decoder's client of the encoders: knows which are there, brings each medium to one of them,
// to another if that fails, and checks what comes back.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "decoder_svc/encoder_pool/blame.h"
#include "decoder_svc/encoder_pool/collector.h"
#include "decoder_svc/encoder_pool/encode_job.h"
#include "decoder_svc/encoder_pool/encoder_name.h"
#include "decoder_svc/encoder_pool/fair_line.h"
#include "decoder_svc/encoder_pool/known_model.h"
#include "decoder_svc/encoder_pool/pace.h"
#include "decoder_svc/encoder_pool/resolver.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

class EncoderSecrets;
class PoolCall;
struct Outcome;
struct Target;

struct EncoderPoolOptions {
  std::vector<EncoderName> encoders;
  EncoderSecrets* secrets = nullptr;  // outlives the pool; none: plain connections, no token
  int dim = 0;                        // the decoder's width: rows of another are refused
  std::string fingerprint;  // of the only model whose rows are taken; empty: that of the first
  // For a picture, a frame or a segment, once an encoder has it.
  absl::Duration encode_limit = absl::Minutes(2);
  absl::Duration wait_limit = absl::Minutes(5);  // until an encoder has it
  size_t max_waiting = 1024;                     // media; one more is refused
  // A medium goes to an encoder once more, for this reason. Any thread; must not block.
  std::function<void(Blame)> on_retry = [](Blame) {};
};

struct EncoderTargetInfo {
  std::string address;  // empty: the name was never resolved
  std::string name;     // as it was given
  v1::EncoderState state = v1::ENCODER_STATE_AWAY;
  std::string reason;       // why it is not healthy
  std::string fingerprint;  // as it last said; empty: it has not yet
  int in_flight = 0;
};

// Thread-safe. Encoders are asked all the time who they are and how busy, so that one that was away
// is used again as soon as it is back. Media wait here, not there, when all have enough to do.
class EncoderPool {
 public:
  using Done = std::function<void(absl::StatusOr<EncodedMedium>)>;

  // `logger` must outlive the pool.
  EncoderPool(EncoderPoolOptions options, const Logger& logger);
  // All calls must have ended.
  ~EncoderPool();

  // A medium being encoded. Cancel may be called at any time; it does not call `done` itself.
  class Call {
   public:
    virtual ~Call() = default;
    virtual void Cancel() = 0;
  };

  // `done` is called exactly once, from any thread or before return. Errors: the encoder's own
  // about the medium (INVALID_ARGUMENT, OVER_LIMIT …, fields relative to it); on_header's;
  // UNAVAILABLE: no encoder answers, or it took longer than encode_limit; RESOURCE_EXHAUSTED with a
  // delay: too many wait; DEADLINE_EXCEEDED: the job's deadline; FAILED_PRECONDITION: of another
  // model; INTERNAL: encoders failed, or their answer is broken; CANCELLED.
  std::shared_ptr<Call> Encode(EncodeJob job, Done done);

  // Whose rows the decoder takes; empty until an encoder answered.
  std::string fingerprint() const;
  std::vector<EncoderTargetInfo> targets() const;
  // Returns when every encoder answered or failed once, at the latest after `limit`.
  void WaitForFirstAnswers(absl::Duration limit) const;

 private:
  friend class PoolCall;
  using CallPtr = std::shared_ptr<PoolCall>;
  using TargetPtr = std::shared_ptr<Target>;
  struct Name;
  struct Work;

  // Under the mutex: `change`, then what follows from it for all that waits. Without it: the work
  // that came of both.
  void Update(const std::function<void(absl::Duration now, Work* work)>& change);
  void Advance(absl::Duration now, Work* work);
  void Do(Work work);

  void OnAddresses(Name* name, const Resolver::Addresses& addresses);
  void OnProbe(const TargetPtr& target, const absl::Status& status,
               const v1::GetEncoderInfoResponse& info);
  void OnResult(const CallPtr& call, const TargetPtr& target, Outcome outcome);
  void OnCancel();
  void Monitor();

  // With the mutex.
  void FindTargets(absl::Duration now);
  absl::Status Judge(const Target& target, const v1::GetEncoderInfoResponse& info,
                     absl::Duration now, Work* work);
  void BeginProbes(absl::Duration now, Work* work);
  void AskAgain(Target* target);
  TargetPtr Choose(const PoolCall& call, absl::Duration now);
  absl::Duration AllFullFor(const PoolCall& call, absl::Duration now) const;
  absl::Status WhyNotWait(PoolCall* call, absl::Duration now);
  absl::Status WhyHopeless(const PoolCall& call, absl::Duration now) const;
  void LeaveSilent(Work* work);
  void LeaveSlow(absl::Duration now, Work* work) const;
  void TellChanges(absl::Duration now, Work* work);

  const EncoderPoolOptions options_;
  const Logger& logger_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::unique_ptr<Name>> names_;
  std::vector<TargetPtr> targets_;
  KnownModel model_;
  FairLine<CallPtr> line_;
  Pace pace_;
  size_t next_ = 0;  // where to look first: spreads media over equals
  bool stopping_ = false;
  std::thread monitor_;
};

}  // namespace softsplice
