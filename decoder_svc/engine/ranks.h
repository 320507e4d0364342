// The model on one backend, or shared out to several: ranks, of which each has a thread, a part of
// the weights and of the caches, and runs the same steps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/gguf/file.h"
#include "decoder_svc/engine/runner.h"
#include "kernels/backend.h"
#include "kernels/rank_group.h"

namespace softsplice {

// One calling thread, which is rank 0's.
class Ranks {
 public:
  // `file` outlives it. Errors are Runner::Make's, of any rank. `step_limit`: how much longer than
  // rank 0 the others may take for a step.
  static absl::StatusOr<std::unique_ptr<Ranks>> Load(const gguf::File& file,
                                                     std::vector<std::unique_ptr<Backend>> backends,
                                                     const RunnerOptions& options,
                                                     absl::Duration step_limit);

  std::string Name() const;                                       // for people: of all backends
  const Runner& runner() const { return *all_.front()->runner; }  // rank 0's

  // As Runner::Copy.
  void Copy(absl::Span<const BlockCopy> copies);
  // As Runner::Run, whose rows are rank 0's; `parts` may go when it returns. Errors of several:
  // UNAVAILABLE (RANK_FAILED), for good.
  absl::StatusOr<absl::Span<const RowLogits>> Run(absl::Span<const StepPart> parts);
  // After an error: OK if it does not make the next steps fail, too.
  absl::Status Recover();

 private:
  struct Rank {
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Runner> runner;
  };
  struct SharedStep;
  using All = std::vector<std::shared_ptr<Rank>>;

  Ranks(All all, absl::Duration step_limit);

  const All all_;                     // also of their threads: one that hangs may outlive this
  std::vector<BlockCopy> copies_;     // for the next step
  std::vector<uint64_t> versions_;    // of the tables that the others have, by slot
  std::unique_ptr<RankGroup> group_;  // null: there is one rank
};

}  // namespace softsplice
