// One request of a load, timed as its messages come.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "deploy/cli/bench/record.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice::bench {

struct CallResult {
  Record record;
  std::string answer;
  // Where the conversation goes on with its new turns only; empty: it is sent whole.
  std::string session;
  // After a failure: how long the service asks to wait; zero if it does not say.
  absl::Duration retry;
};

// `done` is called once after Start, on a thread of the call's. Then the call must be deleted, but
// not on that thread.
class Call {
 public:
  using Done = std::function<void(Call*, CallResult)>;
  struct Setup {
    absl::Duration due;            // when it should be sent
    absl::Duration timeout;        // from Start on
    std::atomic<int64_t>* tokens;  // more as they come; borrowed
    Done done;
  };

  explicit Call(Setup setup);
  virtual ~Call() = default;
  // Sends `request`, which is not needed afterwards.
  virtual void Start(const v1::GenerateRequest& request) = 0;
  // The call ends early, and is neither completed nor failed. Not after `done`.
  virtual void Abandon() = 0;

 protected:
  // A message of the answer that brought so many tokens, perhaps none.
  void OnMessage(int tokens, absl::string_view answer);
  // Calls `done`; `failure` as in Record. Nothing of the call is to be used afterwards.
  void Finish(std::string failure);

  const absl::Duration timeout_;
  CallResult result_;
  std::atomic<bool> abandoned_ = false;

 private:
  std::atomic<int64_t>& tokens_;
  Done done_;
};

}  // namespace softsplice::bench
