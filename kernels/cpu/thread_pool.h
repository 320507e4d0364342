// A fixed team of threads for the CPU ops: the caller and workers that spin briefly, then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace softsplice {

// One calling thread at a time; bodies must not call back into the pool.
class ThreadPool {
 public:
  // Starts threads - 1 workers (threads >= 1).
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(thread) once for every thread in [0, threads()), 0 being the caller, and returns
  // when all are done. What a body wrote is visible to the caller.
  void Run(absl::FunctionRef<void(int thread)> body);

  // Calls body(begin, end) over pieces of [0, count) of `grain` indices (the last may be smaller);
  // a thread takes the next piece when it is done with one. The caller does it all when there is
  // only one piece.
  void ParallelFor(int count, int grain, absl::FunctionRef<void(int begin, int end)> body);

 private:
  void Work(int thread);

  std::vector<std::thread> workers_;
  const absl::FunctionRef<void(int)>* body_ = nullptr;  // published by raising the epoch
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<uint32_t> running_{0};  // workers that have not finished the job
  bool stop_ = false;                             // read after the epoch
};

}  // namespace softsplice
