#include "kernels/cpu/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/cpu/cpus.h"

namespace softsplice {
namespace {

// Between the ops of one forward pass a worker idles for microseconds; waking it from sleep costs
// about 50.
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr uint64_t kNextJob = uint64_t{1} << 32;

uint32_t PiecesLeft(uint64_t state) { return static_cast<uint32_t>(state); }

// Returns when `value` differs from `old`: spins first, then sleeps.
template <class T>
void AwaitChange(const std::atomic<T>& value, T old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      _mm_pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
}

// Where it is not allowed the kernel goes on placing the thread.
void Pin(std::thread& thread, int cpu) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(cpu, &mask);
  pthread_setaffinity_np(thread.native_handle(), sizeof mask, &mask);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread] { Work(thread); });
  }
  cpus_ = AllowedCpus();
  if (static_cast<int>(cpus_.size()) != threads) cpus_.clear();
  for (size_t thread = 1; thread < cpus_.size(); ++thread) Pin(workers_[thread - 1], cpus_[thread]);
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  state_.fetch_add(kNextJob);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

uint32_t ThreadPool::TakePieces(int thread) {
  uint32_t taken = 0;
  uint64_t state = state_.load(std::memory_order_relaxed);
  while (PiecesLeft(state) > 0) {
    if (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
      continue;
    }
    const Job& job = *job_;
    job.body(thread, job.count - static_cast<int>(PiecesLeft(state)));
    ++taken;
    state = state_.load(std::memory_order_relaxed);
  }
  return taken;
}

void ThreadPool::Work(int thread) {
  while (true) {
    // Before stop_: a worker that read it the other way round could take the last change of the
    // state, which says that stop_ is set, for the state that is still to change, and sleep for
    // ever.
    const uint64_t state = state_.load(std::memory_order_acquire);
    if (stop_) return;
    if (PiecesLeft(state) == 0) {
      AwaitChange(state_, state);
      continue;
    }
    const uint32_t taken = TakePieces(thread);
    if (taken == 0) continue;
    done_.fetch_add(taken, std::memory_order_release);
    done_.notify_one();
  }
}

void ThreadPool::MakeWay() {
  const int here = sched_getcpu();
  if (cpus_.empty() || cpus_[0] == here) return;
  const auto worker = std::find(cpus_.begin() + 1, cpus_.end(), here);
  if (worker == cpus_.end()) return;
  std::swap(*worker, cpus_[0]);
  Pin(workers_[static_cast<size_t>(worker - cpus_.begin()) - 1], *worker);
}

void ThreadPool::ForEach(int count, absl::FunctionRef<void(int thread, int i)> body) {
  if (count <= 1 || workers_.empty()) {
    for (int i = 0; i < count; ++i) body(0, i);
    return;
  }
  MakeWay();
  const Job job{count, body};
  job_ = &job;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t number = (state_.load(std::memory_order_relaxed) & ~(kNextJob - 1)) + kNextJob;
  state_.store(number + static_cast<uint32_t>(count));
  state_.notify_all();
  const uint32_t others = static_cast<uint32_t>(count) - TakePieces(0);
  for (uint32_t done; (done = done_.load(std::memory_order_acquire)) != others;) {
    AwaitChange(done_, done);
  }
}

void ThreadPool::ParallelFor(int count, int grain,
                             absl::FunctionRef<void(int begin, int end)> body) {
  const int pieces = static_cast<int>((int64_t{count} + grain - 1) / grain);
  ForEach(pieces, [&](int, int i) {
    const int64_t begin = int64_t{i} * grain;
    body(static_cast<int>(begin), static_cast<int>(std::min<int64_t>(begin + grain, count)));
  });
}

}  // namespace softsplice
