// The border of a process: how many calls, and bytes of calls, are in it at once, and for how long
// a call may keep it waiting. What comes from outside passes here first.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace softsplice {

class Gate;

struct BorderOptions {
  int max_calls = 512;
  uint64_t max_request_bytes = 64 << 20;  // of one message
  // Of all live calls: requests as they came, what they became when parsed, unsent answers.
  uint64_t max_bytes = 1 << 30;
  absl::Duration upload_limit = absl::Minutes(1);  // from a call's headers to its whole request
  absl::Duration read_limit = absl::Seconds(30);   // for a client to read one message
  absl::Duration call_limit = absl::Hours(1);      // of a whole call, whatever deadline it has
};

// Thread-safe. One for all services of a process; outlives all their calls.
class Border {
 public:
  // A live call as the border sees it. The methods come from the border's thread or the one that
  // drains, at any time while the call is inside, and must not block.
  class Guest {
   public:
    virtual ~Guest() = default;
    // Several times a second: look at limits of time.
    virtual void OnTick(absl::Duration now) = 0;
    // Nothing new is begun any more.
    virtual void OnDrain() = 0;
    // What is not done by now ends.
    virtual void OnDrainDeadline() = 0;
  };

  // Bytes taken from the budget until it is destroyed. Not thread-safe.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept {
      std::swap(border_, other.border_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Lease() { Shrink(bytes_); }

    // RESOURCE_EXHAUSTED (SERVER_BUSY), and nothing taken, where the budget does not hold it.
    absl::Status Grow(uint64_t bytes);
    void Shrink(uint64_t bytes);
    uint64_t bytes() const { return bytes_; }

   private:
    friend class Border;
    explicit Lease(Border* border) : border_(border) {}

    Border* border_ = nullptr;
    uint64_t bytes_ = 0;
  };

  // `gate`, which outlives the border, says who may come; none: everyone.
  explicit Border(const BorderOptions& options, Gate* gate = nullptr);
  ~Border();

  const BorderOptions& options() const { return options_; }
  Gate* gate() const { return gate_; }

  // A call came. UNAVAILABLE (DRAINING), RESOURCE_EXHAUSTED (SERVER_BUSY). `light`: it takes next
  // to nothing, and others depend on it (who are you, how busy): there is room for some more of
  // those.
  absl::Status Enter(const std::shared_ptr<Guest>& guest, bool light);
  // It ended; unknown ones are ignored.
  void Leave(Guest* guest);
  Lease NewLease() { return Lease(this); }

  // From now on nothing new is taken; calls that only wait end, the others go on.
  void Drain();
  // All that are left end.
  void EndAll();
  // Whether no call was inside within `limit`.
  bool WaitIdle(absl::Duration limit);

  int live_calls() const;
  uint64_t live_bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  template <class Visit>
  void ForEach(Visit visit);
  void Tick();

  const BorderOptions options_;
  Gate* const gate_;
  std::atomic<uint64_t> bytes_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<Guest*, std::weak_ptr<Guest>> guests_;
  bool draining_ = false;
  bool stopping_ = false;
  std::thread ticker_;  // last: it uses all of the above
};

}  // namespace softsplice
