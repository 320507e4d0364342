// The threads of several ranks, which do the same work at the same time.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace softsplice {

// One calling thread, which is rank 0's. Once something failed it is over: every Run() says so.
class RankGroup {
 public:
  using Work = std::function<absl::Status(int rank)>;
  // Any thread: ends what a rank waits for, now and later.
  using Abort = std::function<void(int rank, const absl::Status& why)>;

  // `limit`: how long the others may take once rank 0 is done.
  RankGroup(int ranks, Abort abort, absl::Duration limit);
  // Leaves behind, for the process to end, a rank that hangs.
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  // Does `work` on every rank. The first error of any rank; all are aborted then, and not waited
  // for: they may still use what `work` holds. UNAVAILABLE (RANK_FAILED): a rank hangs.
  absl::Status Run(const Work& work);

  // The error that it is over with.
  absl::Status error() const;

 private:
  struct Shared;
  static void Loop(const std::shared_ptr<Shared>& shared, int rank);

  const absl::Duration limit_;
  const std::shared_ptr<Shared> shared_;  // also of the threads: they may outlive the group
  std::vector<std::thread> threads_;      // of ranks 1 and up
};

}  // namespace softsplice
