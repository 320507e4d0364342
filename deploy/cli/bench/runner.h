// Plays conversations with a server, as many as a load asks for at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "deploy/cli/bench/arrivals.h"
#include "deploy/cli/bench/call.h"
#include "deploy/cli/bench/record.h"
#include "deploy/cli/bench/target.h"
#include "deploy/cli/bench/workload.h"
#include "deploy/cli/signals.h"
#include "deploy/cli/terminal.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice::bench {

struct Load {
  // Open loop: conversations that begin each second, and how evenly (see Arrivals).
  double rate = 0;
  double burstiness = 1;
  // Or as these are, one for each.
  std::vector<absl::Duration> gaps;
  // Closed loop, if there is neither: users, each with one conversation after another.
  int users = 0;
  // No conversation begins once those begun hold this many requests.
  int requests = std::numeric_limits<int>::max();
  // Nothing is sent after this time.
  absl::Duration duration = absl::InfiniteDuration();
  // Between a turn's answer and the next turn, and between conversations of a user.
  absl::Duration think;
  // For one request.
  absl::Duration timeout;
};

// Not thread-safe.
class Runner {
 public:
  // Requests are `base` with a conversation. All are borrowed.
  Runner(Target& target, const Workload& workload, const v1::GenerateRequest& base,
         Interrupts& interrupts);

  // Returns when every request has ended: by itself, by its timeout or, after a signal, by us.
  // Conversations of different runs differ, too.
  std::vector<Record> Run(const Load& load, uint64_t seed);

 private:
  // A conversation that goes on: the request that is next, and the turns after it.
  struct Talk {
    Conversation script;
    size_t turn = 0;
    v1::GenerateRequest request;
  };
  struct Due {
    absl::Duration at;
    std::unique_ptr<Talk> talk;  // null: a conversation that is still to be made
  };

  struct Flight {
    std::unique_ptr<Call> call;
    std::unique_ptr<Talk> talk;
  };

  // These hold mutex_ when they are called.
  void ClearSchedule();
  // The sending thread's part in the end of calls. Holds no lock meanwhile.
  void BuryEnded(std::unique_lock<std::mutex>& lock);
  std::unique_ptr<Talk> Begin();
  void ScheduleArrival(absl::Duration last);
  // What is to be sent now; nothing when all is over.
  std::optional<Due> WaitForNext(Progress& progress);
  void Send(Due next);
  void OnDone(Call* call, CallResult result);

  Target& target_;
  const Workload& workload_;
  const v1::GenerateRequest& base_;
  Interrupts& interrupts_;
  uint64_t conversations_ = 0;  // begun, in all runs

  // Of the present run. The sending thread's own, or constant:
  Load load_;
  std::unique_ptr<Arrivals> arrivals_;  // open loop only
  absl::Duration begin_;
  int requests_ = 0;  // of the conversations begun

  std::atomic<int64_t> tokens_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::multimap<absl::Duration, std::unique_ptr<Talk>> schedule_;
  std::unordered_map<Call*, Flight> in_flight_;
  std::vector<std::unique_ptr<Call>> ended_;
  std::vector<std::string> ended_sessions_;
  std::vector<Record> records_;
  int failed_ = 0;
};

}  // namespace softsplice::bench
