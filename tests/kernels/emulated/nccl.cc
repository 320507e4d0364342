// See nccl.h.
#include "tests/kernels/emulated/nccl.h"

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace {

struct Clique;

}  // namespace

struct EmulatedComm {
  std::shared_ptr<Clique> clique;
  int rank = 0;
  std::shared_ptr<std::atomic<bool>> aborted;
};

namespace {

// The ranks that one id joins.
struct Clique {
  std::mutex mutex;
  std::vector<int> devices;  // of the ranks that have joined
  int ranks = 0;
  // Of the round: what came, by rank, and how many have their sum.
  std::vector<std::vector<float>> numbers;
  size_t done = 0;
};

std::mutex cliques_mutex;
std::map<int, std::shared_ptr<Clique>> cliques;  // by id

// A rank's work in a stream: comes with its numbers, and waits for the others'.
class Meeting {
 public:
  Meeting(const EmulatedComm& comm, float* x, size_t count)
      : clique_(comm.clique),
        aborted_(comm.aborted),
        rank_(static_cast<size_t>(comm.rank)),
        x_(x),
        count_(count) {}

  // Whether it is done.
  bool operator()() {
    Clique& c = *clique_;
    const std::lock_guard lock(c.mutex);
    if (*aborted_) return true;
    if (!here_) {
      if (!c.numbers[rank_].empty()) return false;  // the others are not done with the last round
      c.numbers[rank_].assign(x_, x_ + count_);
      here_ = true;
    }
    for (const auto& numbers : c.numbers) {
      if (numbers.size() != count_) return false;
    }
    for (size_t i = 0; i < count_; ++i) {
      x_[i] = c.numbers[0][i];
      for (size_t rank = 1; rank < c.numbers.size(); ++rank) x_[i] += c.numbers[rank][i];
    }
    if (++c.done < c.numbers.size()) return true;
    c.done = 0;
    for (auto& numbers : c.numbers) numbers.clear();
    return true;
  }

 private:
  std::shared_ptr<Clique> clique_;
  std::shared_ptr<const std::atomic<bool>> aborted_;
  size_t rank_;
  float* x_;
  size_t count_;
  bool here_ = false;
};

}  // namespace

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static int next = 0;
  const std::lock_guard lock(cliques_mutex);
  std::memcpy(id->internal, &++next, sizeof(next));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0) return ncclInvalidArgument;
  int key = 0;
  std::memcpy(&key, id.internal, sizeof(key));
  const std::lock_guard lock(cliques_mutex);
  auto& clique = cliques[key];
  if (clique == nullptr) clique = std::make_shared<Clique>();
  clique->ranks = ranks;
  clique->numbers.resize(static_cast<size_t>(ranks));
  const int device = emulation::CurrentDevice();
  for (const int other : clique->devices) {
    if (other == device) return ncclInvalidUsage;
  }
  clique->devices.push_back(device);
  *comm = new EmulatedComm{clique, rank, std::make_shared<std::atomic<bool>>(false)};
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const std::lock_guard lock(cliques_mutex);
  *error = static_cast<int>(comm->clique->devices.size()) < comm->clique->ranks ? ncclInProgress
                                                                                : ncclSuccess;
  if (emulation::faults.nccl) *error = ncclRemoteError;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  *comm->aborted = true;
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  if (from != to || type != ncclFloat32 || op != ncclSum) return ncclInvalidArgument;
  const Meeting meeting(*comm, static_cast<float*>(to), count);
  return emulation::EnqueueWaiting(stream, meeting) == cudaSuccess ? ncclInProgress
                                                                   : ncclInvalidUsage;
}

const char* ncclGetErrorString(ncclResult_t error) {
  return error == ncclRemoteError ? "remote process exited or there was a network error"
                                  : "invalid usage";
}
