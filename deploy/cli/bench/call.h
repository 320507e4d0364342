// One Generate call of a load, timed as its messages come.
#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "deploy/cli/bench/record.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice::bench {

struct CallResult {
  Record record;
  std::string answer;
  // After a failure: how long the service asks to wait; zero if it does not say.
  absl::Duration retry;
};

// `done` is called once after Start, on a thread of gRPC's. Then the call must be deleted, but not
// on that thread: it may hold the last reference to a channel, whose end waits for gRPC's threads.
class Call final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  using Done = std::function<void(Call*, CallResult)>;

  // `due`: when it should be sent. Tokens are added to `tokens` as they come.
  Call(absl::Duration due, absl::Duration timeout, std::atomic<int64_t>& tokens, Done done);
  // Sends `request`, which is not needed afterwards.
  void Start(v1::DecoderService::Stub& stub, const v1::GenerateRequest& request);
  // The call ends early, and is neither completed nor failed. Not after `done`.
  void Abandon();

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void OnDelta(const v1::Delta& delta);
  void OnFinished(const v1::Finished& finished);

  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  CallResult result_;
  bool finished_ = false;
  std::atomic<bool> abandoned_ = false;
  std::atomic<int64_t>& tokens_;
  Done done_;
};

}  // namespace softsplice::bench
