// Whether the process answers on its own address, asked as its clients ask.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/server/server.h"

namespace grpc {
class ClientContext;
}  // namespace grpc

namespace softsplice {

// Asks the health service over a new connection each time. Thread-safe; `server` outlives it.
class SelfCheck {
 public:
  // Asks 12 times within `limit`.
  SelfCheck(const Server& server, absl::Duration limit);
  ~SelfCheck();

  // UNAVAILABLE: for `limit`, and six times in a row, there was no answer, though the server turns
  // no connections away. A machine that is busy, or was asleep, does not get there.
  absl::Status status() const;

 private:
  void Run();
  bool Ask(grpc::ClientContext* context) const;

  const Server& server_;
  const absl::Duration limit_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  grpc::ClientContext* asking_ = nullptr;
  int failures_ = 0;  // in a row
  absl::Duration answered_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace softsplice
