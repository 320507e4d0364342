// The decoder's client of the encoders: knows which are there, picks one per medium, tries again
// once, checks what comes back.
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
#include "absl/time/time.h"
#include "common/log/log.h"
#include "decoder_svc/encoder_pool/collector.h"

namespace softsplice {

struct EncoderPoolOptions {
  std::vector<std::string> addresses;  // host:port, unix:PATH or what else gRPC resolves
  int dim = 0;                         // the decoder's width: rows of another are refused
  absl::Duration encode_limit = absl::Minutes(2);  // for one medium, also if the caller has none
};

struct EncodeJob {
  Wanted wanted;
  std::string data;
  std::string mime_type;
  uint32_t max_soft_tokens = 0;  // of a picture
  absl::Time deadline = absl::InfiniteFuture();
  std::string request_id;
  std::string traceparent;  // may be empty
};

struct EncoderTargetInfo {
  std::string address;
  bool healthy = false;
  int in_flight = 0;
};

// Thread-safe. Encoders are asked all the time who they are, so that one that was away is used
// again as soon as it is back; one that is away is still tried when there is no other.
class EncoderPool {
 public:
  using Done = std::function<void(absl::StatusOr<EncodedMedium>)>;

  // `logger` must outlive the pool.
  EncoderPool(EncoderPoolOptions options, const Logger& logger);
  // All calls must have ended.
  ~EncoderPool();

  // A medium being encoded. Cancel may be called at any time.
  class Call {
   public:
    virtual ~Call() = default;
    virtual void Cancel() = 0;
  };

  // `done` is called exactly once, from a gRPC thread or before return. Errors: the encoder's own
  // (INVALID_ARGUMENT, RESOURCE_EXHAUSTED …, fields relative to the medium); UNAVAILABLE: no
  // encoder answers; DEADLINE_EXCEEDED; FAILED_PRECONDITION: of another model; OUT_OF_RANGE: more
  // rows than wanted; INTERNAL: its answer is broken; CANCELLED.
  std::shared_ptr<Call> Encode(EncodeJob job, Done done);

  // Whose rows the decoder takes: the fingerprint that the encoders agree on; empty until one
  // answered.
  std::string fingerprint() const;
  std::vector<EncoderTargetInfo> targets() const;
  // Returns when every encoder answered or failed once, at the latest after `limit`.
  void WaitForFirstAnswers(absl::Duration limit) const;

 private:
  friend class PoolCall;
  struct Target;
  class Probe;

  // The healthy target with the fewest calls, not `other_than` if there is another; if none is
  // healthy, one that may have come back. Counts a call on it.
  absl::StatusOr<Target*> Acquire(const Target* other_than);
  // The call ended; `status` is what the encoder said.
  void Release(Target* target, const absl::Status& status);

  void Monitor();
  void OnProbe(Target* target, const absl::Status& status, const v1::GetEncoderInfoResponse& info);
  absl::Status Judge(const Target& target, const v1::GetEncoderInfoResponse& info);
  void SetState(Target* target, const absl::Status& state);

  const EncoderPoolOptions options_;
  const Logger& logger_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::unique_ptr<Target>> targets_;
  std::string fingerprint_;
  size_t next_ = 0;  // where to look first: spreads calls over equals
  bool stopping_ = false;
  std::thread monitor_;
};

}  // namespace softsplice
