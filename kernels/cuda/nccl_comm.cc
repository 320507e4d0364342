// Sums over NCCL, whose library is looked for when it is wanted: it is large, and hosts without
// GPUs have none. See comm.h.
#include <dlfcn.h>
#include <nccl.h>

#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "kernels/cuda/comm.h"
#include "kernels/cuda/memory.h"

namespace softsplice::cuda {
namespace {

constexpr char kLibrary[] = "libnccl.so.2";
constexpr absl::Duration kFarewell = absl::Seconds(1);

absl::Status Unfit(absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("several devices need NCCL, and ", why),
                   {.reason = reason::kUnfitDevice});
}

// The functions of the library that are used here.
struct Nccl {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclCommGetAsyncError) get_async_error = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;

  // It stays loaded.
  static absl::StatusOr<Nccl> Load() {
    void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return Unfit(absl::StrCat("it can't be loaded: ", dlerror()));
    Nccl nccl;
    const auto find = [&](const char* name, auto& function) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    if (find("ncclGetUniqueId", nccl.get_unique_id) && find("ncclCommInitRankConfig", nccl.init) &&
        find("ncclAllReduce", nccl.all_reduce) &&
        find("ncclCommGetAsyncError", nccl.get_async_error) && find("ncclCommAbort", nccl.abort) &&
        find("ncclGetErrorString", nccl.error_string)) {
      return nccl;
    }
    return Unfit(absl::StrCat(kLibrary, " is too old"));
  }
};

class NcclComm final : public Comm {
 public:
  NcclComm(const Nccl& nccl, absl::Duration limit) : nccl_(nccl), limit_(limit) {}
  // Nothing is under way any more, or it will not end by itself.
  ~NcclComm() override { End(); }

  // Begins to join the others, on the current device; Ready() tells whether it has.
  absl::Status Begin(const ncclUniqueId& id, int rank, int ranks) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return Check("ncclCommInitRankConfig", nccl_.init(&comm_, ranks, id, rank, &config));
  }
  // Once the library has taken what it was given.
  absl::Status Ready() {
    for (const absl::Duration start = SteadyNow();; std::this_thread::yield()) {
      ncclResult_t result = ncclSuccess;
      RETURN_IF_ERROR(Look(start, &result));
      if (result == ncclSuccess) return absl::OkStatus();
    }
  }

  absl::Status AllReduce(cudaStream_t stream, float* x, size_t count) override {
    if (!error_.ok()) return error_;
    RETURN_IF_ERROR(
        Check("ncclAllReduce", nccl_.all_reduce(x, x, count, ncclFloat32, ncclSum, comm_, stream)));
    return Ready();
  }
  // Once nobody waits for others any more, the rest of the work is done soon: it writes to memory
  // that goes.
  absl::Status Wait(cudaStream_t stream) override {
    const absl::Status status = WaitForAll(stream);
    const absl::Duration start = SteadyNow();
    while (!status.ok() && cudaStreamQuery(stream) == cudaErrorNotReady &&
           SteadyNow() - start < kFarewell) {
      std::this_thread::yield();
    }
    return status;
  }
  bool CanRecord() const override { return true; }
  void Abort(const absl::Status& why) override {
    const std::lock_guard lock(mutex_);
    if (aborted_.ok()) aborted_ = why;
  }

 private:
  // Not cudaStreamSynchronize, which would wait for ever for a rank that is gone.
  absl::Status WaitForAll(cudaStream_t stream) {
    for (const absl::Duration start = SteadyNow(); error_.ok(); std::this_thread::yield()) {
      const cudaError_t query = cudaStreamQuery(stream);
      if (query == cudaSuccess) return absl::OkStatus();
      (void)cudaGetLastError();  // it is told here
      if (query != cudaErrorNotReady) {
        return Fail(absl::StrCat("CUDA: ", cudaGetErrorString(query)));
      }
      ncclResult_t result = ncclSuccess;
      RETURN_IF_ERROR(Look(start, &result));
    }
    return error_;
  }
  // What there is to know while something is under way since `start`.
  absl::Status Look(absl::Duration start, ncclResult_t* result) {
    {
      const std::lock_guard lock(mutex_);
      if (!aborted_.ok()) error_ = RankFailed(aborted_.message());
    }
    if (!error_.ok()) {
      End();
      return error_;
    }
    RETURN_IF_ERROR(Check("ncclCommGetAsyncError", nccl_.get_async_error(comm_, result)));
    RETURN_IF_ERROR(Check("asynchronous error", *result));
    if (SteadyNow() - start <= limit_) return absl::OkStatus();
    return Fail(absl::StrCat("not done after ", absl::FormatDuration(limit_)));
  }
  absl::Status Check(const char* what, ncclResult_t result) {
    if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
    return Fail(absl::StrCat("NCCL: ", what, ": ", nccl_.error_string(result)));
  }
  absl::Status Fail(absl::string_view why) {
    error_ = RankFailed(why);
    End();
    return error_;
  }
  // Ends what is under way on the device, so that nobody waits for it.
  void End() {
    if (comm_ != nullptr) (void)nccl_.abort(std::exchange(comm_, nullptr));
  }

  const Nccl nccl_;
  const absl::Duration limit_;
  ncclComm_t comm_ = nullptr;
  absl::Status error_;
  std::mutex mutex_;
  absl::Status aborted_;  // why, as others said; guarded by mutex_
};

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Comm>>> MakeNcclComms(absl::Span<const int> devices,
                                                                 absl::Duration limit) {
  ASSIGN_OR_RETURN(const Nccl nccl, Nccl::Load());
  ncclUniqueId id;
  if (const ncclResult_t result = nccl.get_unique_id(&id); result != ncclSuccess) {
    return Unfit(absl::StrCat("it can't begin: ", nccl.error_string(result)));
  }
  std::vector<std::unique_ptr<NcclComm>> joining;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    RETURN_IF_ERROR(ToStatus("NCCL", cudaSetDevice(devices[rank])));
    joining.push_back(std::make_unique<NcclComm>(nccl, limit));
    const absl::Status begun =
        joining.back()->Begin(id, static_cast<int>(rank), static_cast<int>(devices.size()));
    if (!begun.ok()) return Unfit(begun.message());
  }
  std::vector<std::unique_ptr<Comm>> comms;
  for (auto& comm : joining) {
    if (const absl::Status joined = comm->Ready(); !joined.ok()) return Unfit(joined.message());
    comms.push_back(std::move(comm));
  }
  return comms;
}

}  // namespace softsplice::cuda
