#include "kernels/cpu/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>

namespace softsplice {
namespace {

// Between the ops of one forward pass a worker idles for microseconds; waking it from sleep costs
// about 50.
constexpr auto kSpin = std::chrono::microseconds(50);

// Returns when `value` differs from `old`: spins first, then sleeps.
void AwaitChange(const std::atomic<uint32_t>& value, uint32_t old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      _mm_pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread] { Work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Work(int thread) {
  for (uint32_t seen = 0;; ++seen) {
    AwaitChange(epoch_, seen);
    if (stop_) return;
    (*body_)(thread);
    if (running_.fetch_sub(1) == 1) running_.notify_one();
  }
}

void ThreadPool::Run(absl::FunctionRef<void(int thread)> body) {
  if (workers_.empty()) return body(0);
  body_ = &body;
  running_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  body(0);
  while (uint32_t left = running_.load(std::memory_order_acquire)) AwaitChange(running_, left);
}

void ThreadPool::ParallelFor(int count, int grain,
                             absl::FunctionRef<void(int begin, int end)> body) {
  if (count <= grain) {
    if (count > 0) body(0, count);
    return;
  }
  std::atomic<int64_t> next{0};
  Run([&](int) {
    while (true) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      body(static_cast<int>(begin), static_cast<int>(std::min<int64_t>(begin + grain, count)));
    }
  });
}

}  // namespace softsplice
