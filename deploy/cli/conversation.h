// A conversation with the decoder service. The history is kept here: it is sent whole with each
// turn, or, while the decoder has a session of it, the new turns only.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "deploy/cli/access.h"
#include "deploy/cli/signals.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice {

struct ConversationOptions {
  v1::GenerateRequest request;  // has the sampling, the limits and the system turn, if any
  absl::Duration timeout = absl::InfiniteDuration();  // for one answer
  bool json = false;
  // Where the conversation's channel leads, for sessions that live in another decoder there.
  std::string server;
  Access access;
  bool session = false;  // use one where the decoder offers them
};

// Not thread-safe.
class Conversation {
 public:
  Conversation(const std::shared_ptr<grpc::Channel>& channel, ConversationOptions options,
               Interrupts& interrupts);
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  ~Conversation() { LeaveSession(); }

  // Sends `message` after the history, shows the answer and adds both to the history. A signal
  // cancels the answer; what came of it until then is kept. Returns an exit code; after a failure,
  // which is reported, the history is as before.
  int Ask(v1::Message message);

  // Whether answers can't be shown any more; Ask has said so.
  bool mute() const { return mute_; }

  // Forgets all turns but the system turn.
  void Reset();

 private:
  using Stub = v1::DecoderService::Stub;
  struct Session {
    std::string id;
    std::unique_ptr<Stub> stub;  // to the very decoder; null: the conversation's own
    size_t turns = 0;            // so many of the history's are in it
  };
  // What came of an answer.
  struct Heard {
    std::string text;
    bool any = false;    // of anything at all
    absl::Status shown;  // whether it could be shown
  };

  grpc::Status Send(Heard& heard);  // in a session or, where that fails, without it
  grpc::Status Stream(Heard& heard);
  void KeepTogether(grpc::ClientContext& context) const;
  void OpenSession();
  void LeaveSession();

  const std::unique_ptr<Stub> stub_;
  ConversationOptions options_;
  std::vector<v1::Message> turns_;
  const size_t first_turns_;
  const std::string route_;  // random, the same in all calls; empty: any decoder will do
  std::optional<Session> session_;
  bool mute_ = false;
  Interrupts& interrupts_;
};

}  // namespace softsplice
