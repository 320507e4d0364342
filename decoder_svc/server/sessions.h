// Names for histories: a session's turns stay here, so that a request brings the new ones only.
//
// A session is what was sent and answered, nothing else: a request in it is read as if the client
// had sent the whole conversation. Its keys and values are in the engine's cache like anyone's, its
// media can be encoded again. So a session pins no memory of the engine, and none is lost with what
// the engine forgets.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/server/call.h"
#include "common/time/steady.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

struct SessionOptions {
  int max_sessions = 1024;
  uint64_t max_bytes = 1 << 30;  // of all histories
  absl::Duration idle_timeout = absl::Minutes(15);
  absl::Duration max_idle_timeout = absl::Hours(24);
  std::string advertise;  // where this process is reached; empty: told to nobody
  std::function<absl::Duration()> clock = SteadyNow;
};

// The turns of a conversation: each of them, and their list, stored once however many sessions
// share them. Never null.
using Turns = std::vector<std::shared_ptr<const v1::Message>>;
using History = std::shared_ptr<const Turns>;

// What a stored message occupies, the heap's part included.
uint64_t BytesOf(const v1::Message& message);

// Thread-safe. An id is known to its creator; with it anybody of the creator's name can use the
// session, and where callers have no names anybody at all.
class Sessions {
  struct Session;

 public:
  // A request's stay in a session, alone. The session stands where it stood unless Commit is
  // called.
  class Turn {
   public:
    Turn() = default;  // none
    Turn(Turn&& other) noexcept { *this = std::move(other); }
    Turn& operator=(Turn&& other) noexcept;
    ~Turn();

    explicit operator bool() const { return session_ != nullptr; }
    const History& history() const;
    const std::string& salt() const;
    // The session goes on from here. It may have been deleted meanwhile. Once.
    void Commit(std::vector<v1::Message> messages);

   private:
    friend class Sessions;
    Sessions* sessions_ = nullptr;
    std::shared_ptr<Session> session_;
    uint64_t reserved_ = 0;
  };

  explicit Sessions(const SessionOptions& options);

  // The new session's id. `owner`: whose quota it takes, too. RESOURCE_EXHAUSTED (SESSIONS_FULL):
  // there are too many, or too many of one owner's. INVALID_ARGUMENT: idle_timeout out of range
  // (zero takes the default).
  absl::StatusOr<std::string> Create(const Caller& owner, absl::Duration idle_timeout,
                                     std::string salt);
  // The same and NOT_FOUND: SESSION_EXPIRED (or deleted, or never there), SESSION_LOST (of this
  // process before it was started anew), SESSION_ELSEWHERE (of another one: the id says where).
  absl::StatusOr<std::string> Fork(const Caller& owner, const std::string& id);
  absl::Status Delete(const Caller& caller, const std::string& id);
  // `bytes` (BytesOf) come with the request. NOT_FOUND as above; ABORTED (SESSION_BUSY): another
  // request is in it; RESOURCE_EXHAUSTED (SESSIONS_FULL): the histories are too large already.
  absl::StatusOr<Turn> Begin(const Caller& caller, const std::string& id, uint64_t bytes);

  const std::string& endpoint() const { return options_.advertise; }
  int count() const;

 private:
  struct Session {
    Caller owner;
    std::string salt;
    absl::Duration idle_timeout;
    absl::Duration used;  // last, on the clock
    bool busy = false;
    History history = std::make_shared<const Turns>();
  };

  absl::StatusOr<std::string> Add(std::shared_ptr<Session> session);
  absl::StatusOr<std::shared_ptr<Session>> Find(const Caller& caller, const std::string& id);
  void Expire();  // all three with the mutex
  // Counted in bytes_ for as long as somebody holds it.
  template <class Value>
  std::shared_ptr<const Value> Store(Value value, uint64_t bytes) const;

  const SessionOptions options_;
  const std::string place_, boot_;  // what ids begin with
  // Of what is stored; that may outlive this.
  const std::shared_ptr<std::atomic<uint64_t>> bytes_ = std::make_shared<std::atomic<uint64_t>>(0);

  mutable std::mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Session>> sessions_;
  uint64_t reserved_ = 0;  // by requests under way
};

}  // namespace softsplice
