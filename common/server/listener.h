// Takes connections for a server, in gRPC's place: its own listener goes deaf for ever when
// descriptors run out, takes connections without a limit, and can't be closed while calls go on.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "absl/time/time.h"
#include "common/server/address.h"
#include "common/server/fd.h"

namespace softsplice {

// Thread-safe.
class Listener {
 public:
  // Gets the listening socket and a connection, which it closes when it is done with it. Called on
  // the listener's thread; must not block.
  using Take = std::function<void(int socket, int connection)>;

  // With `max_connections` open, one more is closed at once: its client is told, and may go
  // elsewhere.
  Listener(ListeningSockets listening, size_t max_connections, Take take);
  ~Listener();

  const std::string& address() const { return listening_.address; }
  size_t max_connections() const { return max_connections_; }
  // Of those taken, how many are open now.
  size_t CountOpen();
  // How many were closed at once since the beginning.
  uint64_t refused() const;

  // Takes no more; what was taken goes on. Idempotent, but not thread-safe.
  void Stop();
  // Leaves what comes from now on unread on every open TCP connection, until its client ends it.
  void StopReading();
  // Says on every open connection that nothing more will come: clients end it, and what they have
  // asked a moment ago fails as UNAVAILABLE, which they may repeat elsewhere.
  void EndAnswers();
  // Ends every open connection, as if its client had gone.
  void CloseConnections();

 private:
  void Run();
  void TakeFrom(int socket);
  void Add(int socket, int connection);
  void RefuseWithoutDescriptor(int socket);
  void ForgetClosed();
  template <class Visit>
  void ForEachOpen(Visit visit);

  ListeningSockets listening_;
  const size_t max_connections_;
  const Take take_;
  Fd stop_;
  Fd spare_;  // given up for an instant to close a connection when no descriptor is left

  mutable std::mutex mutex_;
  // Descriptors and the inodes of their sockets: one that has another inode, or none, was closed.
  std::unordered_map<int, ino_t> open_;
  absl::Duration looked_ = absl::ZeroDuration();
  uint64_t refused_ = 0;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace softsplice
