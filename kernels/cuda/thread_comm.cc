// Sums in the host's memory. See comm.h.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "kernels/cuda/comm.h"
#include "kernels/cuda/memory.h"

namespace softsplice::cuda {
namespace {

// Where the ranks meet, one round after another.
class Meeting {
 public:
  Meeting(int ranks, absl::Duration limit)
      : limit_(absl::ToChronoMilliseconds(limit)), here_(static_cast<size_t>(ranks)) {}

  // The last to come does the sums, in the order of ranks, while the others wait.
  absl::Status Come(int rank, absl::Span<float> x) {
    std::unique_lock lock(mutex_);
    if (!status_.ok()) return status_;
    here_[static_cast<size_t>(rank)] = x;
    if (++arrived_ == here_.size()) {
      SumUp();
      return status_;
    }
    const uint64_t round = round_;
    const bool over =
        changed_.wait_for(lock, limit_, [&] { return round_ != round || !status_.ok(); });
    if (!over)
      End(absl::StrCat("rank ", Missing(), " did not come within ", limit_.count(), " ms"));
    return round_ != round ? absl::OkStatus() : status_;
  }

  absl::Status status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }

  void Abort(const absl::Status& why) {
    const std::lock_guard lock(mutex_);
    End(why.message());
  }

 private:
  void SumUp() {
    for (const auto& x : here_) {
      if (x->size() != here_[0]->size()) return End("the ranks' sums have different sizes");
    }
    for (size_t i = 0; i < here_[0]->size(); ++i) {
      float sum = (*here_[0])[i];
      for (size_t rank = 1; rank < here_.size(); ++rank) sum += (*here_[rank])[i];
      for (const auto& x : here_) (*x)[i] = sum;
    }
    here_.assign(here_.size(), std::nullopt);
    arrived_ = 0;
    ++round_;
    changed_.notify_all();
  }
  void End(absl::string_view why) {
    if (status_.ok()) status_ = RankFailed(why);
    changed_.notify_all();
  }
  std::string Missing() const {
    std::vector<size_t> missing;
    for (size_t rank = 0; rank < here_.size(); ++rank) {
      if (!here_[rank].has_value()) missing.push_back(rank);
    }
    return absl::StrJoin(missing, ", ");
  }

  const std::chrono::milliseconds limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<absl::Span<float>>> here_;  // by rank, of those that came this round
  size_t arrived_ = 0;
  uint64_t round_ = 0;
  absl::Status status_;
};

class ThreadComm final : public Comm {
 public:
  ThreadComm(std::shared_ptr<Meeting> meeting, int rank)
      : meeting_(std::move(meeting)), rank_(rank) {}

  absl::Status AllReduce(cudaStream_t stream, float* x, size_t count) override {
    if (count > numbers_) {
      ASSIGN_OR_RETURN(host_, AllocatePinned(count * sizeof(float)));
      numbers_ = count;
    }
    float* host = static_cast<float*>(host_.get());
    const size_t bytes = count * sizeof(float);
    RETURN_IF_ERROR(
        ToStatus("AllReduce", cudaMemcpyAsync(host, x, bytes, cudaMemcpyDeviceToHost, stream)));
    RETURN_IF_ERROR(ToStatus("AllReduce", cudaStreamSynchronize(stream)));
    RETURN_IF_ERROR(meeting_->Come(rank_, {host, count}));
    return ToStatus("AllReduce", cudaMemcpyAsync(x, host, bytes, cudaMemcpyHostToDevice, stream));
  }
  absl::Status Wait(cudaStream_t stream) override {
    RETURN_IF_ERROR(ToStatus("Wait", cudaStreamSynchronize(stream)));
    return meeting_->status();
  }
  bool CanRecord() const override { return false; }
  void Abort(const absl::Status& why) override { meeting_->Abort(why); }

 private:
  const std::shared_ptr<Meeting> meeting_;
  const int rank_;
  std::shared_ptr<void> host_;
  size_t numbers_ = 0;  // that it has room for
};

}  // namespace

std::vector<std::unique_ptr<Comm>> MakeThreadComms(int ranks, absl::Duration limit) {
  const auto meeting = std::make_shared<Meeting>(ranks, limit);
  std::vector<std::unique_ptr<Comm>> comms;
  for (int rank = 0; rank < ranks; ++rank) {
    comms.push_back(std::make_unique<ThreadComm>(meeting, rank));
  }
  return comms;
}

}  // namespace softsplice::cuda
