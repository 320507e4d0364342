#include "decoder_svc/engine/ranks.h"

#include <deque>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {

// A step as ranks other than 0 read it: all its own, as a rank that hangs may read it late.
struct Ranks::SharedStep {
  // `versions`: as Ranks has them; now those of this step.
  SharedStep(absl::Span<const StepPart> from, std::vector<BlockCopy> blocks,
             std::vector<uint64_t>& versions)
      : parts(from.begin(), from.end()), copies(std::move(blocks)) {
    for (StepPart& part : parts) {
      part.tokens = tokens.emplace_back(part.tokens.begin(), part.tokens.end());
      part.soft = soft.emplace_back(part.soft.begin(), part.soft.end());
      if (part.blocks == nullptr) continue;
      uint64_t& version = versions[static_cast<size_t>(part.slot)];
      const bool known = version == part.blocks->version;
      version = part.blocks->version;
      part.blocks = known ? nullptr : &tables.emplace_back(*part.blocks);
    }
  }

  std::vector<StepPart> parts;
  const std::vector<BlockCopy> copies;
  std::deque<std::vector<int32_t>> tokens;
  std::deque<std::vector<SoftRun>> soft;
  std::deque<BlockTable> tables;
};

absl::StatusOr<std::unique_ptr<Ranks>> Ranks::Load(const gguf::File& file,
                                                   std::vector<std::unique_ptr<Backend>> backends,
                                                   const RunnerOptions& options,
                                                   absl::Duration step_limit) {
  All all;
  std::vector<std::future<absl::Status>> loads;
  for (auto& backend : backends) {
    const auto rank = all.emplace_back(std::make_shared<Rank>(Rank{std::move(backend), nullptr}));
    loads.push_back(std::async(std::launch::async, [&file, &options, rank] {
      ASSIGN_OR_RETURN(rank->runner, Runner::Make(file, *rank->backend, options));
      return absl::OkStatus();
    }));
  }
  absl::Status status;
  for (auto& load : loads) status.Update(load.get());
  RETURN_IF_ERROR(status);
  return std::unique_ptr<Ranks>(new Ranks(std::move(all), step_limit));
}

Ranks::Ranks(All all, absl::Duration step_limit) : all_(std::move(all)) {
  if (all_.size() == 1) return;
  versions_.resize(static_cast<size_t>(runner().shape().slots));
  const auto abort = [ranks = all_](int rank, const absl::Status& why) {
    ranks[static_cast<size_t>(rank)]->backend->Abort(why);
  };
  group_ = std::make_unique<RankGroup>(static_cast<int>(all_.size()), abort, step_limit);
}

std::string Ranks::Name() const {
  return absl::StrJoin(all_, " + ", [](std::string* out, const std::shared_ptr<Rank>& rank) {
    absl::StrAppend(out, rank->backend->Name());
  });
}

void Ranks::Copy(absl::Span<const BlockCopy> copies) {
  copies_.insert(copies_.end(), copies.begin(), copies.end());
}

absl::StatusOr<absl::Span<const RowLogits>> Ranks::Run(absl::Span<const StepPart> parts) {
  const std::vector<BlockCopy> copies = std::exchange(copies_, {});
  if (group_ == nullptr) {
    all_.front()->runner->Copy(copies);
    return all_.front()->runner->Run(parts);
  }
  absl::Span<const RowLogits> rows;
  const auto step = std::make_shared<const SharedStep>(parts, copies, versions_);
  const RankGroup::Work work = [&rows, parts, all = all_, step](int rank) {
    Runner& own = *all[static_cast<size_t>(rank)]->runner;
    own.Copy(step->copies);
    const auto result = own.Run(rank > 0 ? step->parts : parts);
    if (!result.ok()) {
      return RankFailed(absl::StrCat("rank ", rank, ": ", result.status().message()));
    }
    if (rank == 0) rows = *result;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(group_->Run(work));
  return rows;
}

absl::Status Ranks::Recover() {
  return group_ == nullptr ? all_.front()->backend->Wait() : group_->error();
}

}  // namespace softsplice
