// A conversation with the decoder service: the history is kept here and sent whole with each turn.
#pragma once

#include <grpcpp/channel.h>

#include <memory>

#include "absl/time/time.h"
#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {

// Not thread-safe.
class Conversation {
 public:
  // `request` has the sampling, the limits and the system turn, if any. `timeout` is for one
  // answer; infinite: none.
  Conversation(const std::shared_ptr<grpc::Channel>& channel, v1::GenerateRequest request,
               absl::Duration timeout, bool json, Interrupts& interrupts);

  // Sends the history and `message`, shows the answer and adds both to the history. A signal
  // cancels the answer; what came of it until then is kept. Returns an exit code; after a failure,
  // which is reported, the history is as before.
  int Ask(v1::Message message);

  // Forgets all turns but the system turn.
  void Reset();

 private:
  grpc::Status Stream(std::string& answer);

  const std::unique_ptr<v1::DecoderService::Stub> stub_;
  v1::GenerateRequest request_;
  const int first_turns_;
  const absl::Duration timeout_;
  const bool json_;
  Interrupts& interrupts_;
};

}  // namespace softsplice
