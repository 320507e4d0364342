// A fixed team of threads for the CPU ops: the caller and workers that spin briefly, then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace softsplice {

// One calling thread at a time; bodies must not call back into the pool. A job is a number of
// pieces, which the caller and the workers take one after the other. The caller waits only for
// pieces that a worker has begun: on a busy machine, where a worker may wake late, it does the rest
// itself.
class ThreadPool {
 public:
  // Starts threads - 1 workers (threads >= 1). If they and the caller are as many as the CPUs that
  // this thread may run on, each worker stays on one of its own and gives it up only to the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(thread, i) once for every i in [0, count), begun in this order, and returns when all
  // are done. `thread` in [0, threads()) tells who runs it, 0 being the caller. What a body wrote
  // is visible to the caller.
  void ForEach(int count, absl::FunctionRef<void(int thread, int i)> body);

  // Calls body(begin, end) over pieces of [0, count) of `grain` indices (the last may be smaller).
  void ParallelFor(int count, int grain, absl::FunctionRef<void(int begin, int end)> body);

 private:
  struct Job {
    int count;
    absl::FunctionRef<void(int, int)> body;
  };

  // Sends the worker whose CPU the caller has come to where the caller was. Beside another service
  // the kernel would have both on one CPU for milliseconds, and the other service alone on theirs.
  void MakeWay();
  void Work(int thread);
  // Takes pieces of the current job until none is left; how many it took.
  uint32_t TakePieces(int thread);

  std::vector<std::thread> workers_;
  std::vector<int> cpus_;  // the caller's as far as is known, then each worker's; empty: anywhere
  // Written by the caller before it publishes pieces in state_, read by who has taken one of them:
  // until that piece is done the caller does not go on.
  const Job* job_ = nullptr;
  // Pieces that nobody has taken (the low half) and the number of the job (the high half), which
  // keeps a late worker from taking a piece of a later job for one that it saw earlier.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<uint32_t> done_{0};  // pieces of this job that workers have finished
  std::atomic<bool> stop_{false};
};

}  // namespace softsplice
