// What every call goes through, whatever its messages are: a request that arrives in time, messages
// that are read in time, one status at the end.
#pragma once

#include <grpcpp/support/status.h>

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/server/calls.h"

namespace softsplice {

// A heavy call is large, or long; a light one is answered at once.
enum class CallWeight { kLight, kHeavy };

// Held by shared pointers: gRPC's, until it is done with the call, and those of the work that the
// call began, which may outlive gRPC's interest and is ignored then.
//
// Every change of what is to be sent is made under `mutex_` and handed to GoOn with the lock still
// held: were it let go in between, another thread could end the call first.
class ServerCall : public Border::Guest, public std::enable_shared_from_this<ServerCall> {
 public:
  void OnTick(absl::Duration now) final;
  void OnDrain() final;
  void OnDrainDeadline() final;

 protected:
  ServerCall(Call call, const Calls& calls, CallWeight weight);

  // -- What a method brings.
  // Under mutex_: puts the next message in place for StartWriting, if there is one. Asked when the
  // last one has gone, when something changed, and several times a second.
  virtual bool FillMessage() = 0;
  // When its headers are here, and none of what is large: why there is no room for it now.
  virtual absl::Status Room() const { return absl::OkStatus(); }
  // When all of it is here, before it is parsed: takes the room, or says why there is none by now.
  virtual absl::Status TakeRoom() { return absl::OkStatus(); }
  // Nobody waits for the answer any more: give the work up. Any thread, perhaps more than once,
  // perhaps before the request came; not under mutex_.
  virtual void Stop() {}

  // -- What it does.
  // How the call ends once all messages are written; what is said first counts.
  void End(const absl::Status& status) { End(status, std::unique_lock(mutex_)); }
  void End(const absl::Status& status, std::unique_lock<std::mutex> lock);
  // The same, and at once: what was not written is dropped.
  void Abandon(const absl::Status& status) { Abandon(status, std::unique_lock(mutex_)); }
  void Abandon(const absl::Status& status, std::unique_lock<std::mutex> lock);
  // Starts what can start: a write, or the end of the call.
  void GoOn(std::unique_lock<std::mutex> lock);
  // Runs `work`; an exception of a library ends the call with an error instead of leaving it open.
  template <class Work>
  void Guard(Work work) {
    try {
      work();
    } catch (const std::exception& error) {
      Abandon(FromException(error));
    }
  }

  // Under mutex_. Working: from now on the call is worth finishing when the service stops.
  void Working() { waiting_ = false; }
  bool ended() const { return end_.has_value(); }
  bool dropped() const { return dropped_; }
  void Note(LogField field);
  // The client has heard nothing for so long that it should hear that the call lives.
  bool TimeForNews() const;
  // Bytes of the request and of what waits to be written.
  Border::Lease& lease() { return lease_; }

  // These do not change.
  const Call& call() const { return call_; }
  const Calls& calls() const { return calls_; }

  std::mutex mutex_;

  // -- What the reactor does.
  virtual void StartWriting() = 0;
  virtual void StartHeaders() = 0;
  virtual void StartFinish(const grpc::Status& status) = 0;
  // False: the call ends with an error.
  bool Enter();
  void OnRequest();         // all of it is here
  void OnWritten(bool ok);  // a message, or the headers
  void OnClientGone();
  void OnNoRequest();
  CallWeight weight() const { return weight_; }

 private:
  static absl::Status FromException(const std::exception& error);

  const Calls calls_;
  const CallWeight weight_;
  Call call_;
  Border::Lease lease_;
  bool has_request_ = false;
  bool busy_ = false;      // a write or the end of the call is under way
  bool accepted_ = false;  // the headers went
  bool waiting_ = true;
  bool dropped_ = false;                                // nothing is written any more
  bool finished_ = false;                               // call_ was told the end
  absl::Duration limit_at_ = absl::InfiniteDuration();  // the client has done its part by then
  absl::Duration quiet_since_;
  std::optional<absl::Status> end_;
};

}  // namespace softsplice
