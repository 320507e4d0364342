#include "kernels/cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace softsplice {
namespace {

// Jobs of all sizes one right after the other: a worker that comes late finds another job.
TEST(ThreadPoolTest, EveryPieceRunsOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    std::vector<int> calls(50);  // no atomics: ForEach orders everything
    for (int job = 1; job <= 5000; ++job) {
      const int count = job % 50;
      std::fill(calls.begin(), calls.end(), 0);
      pool.ForEach(count, [&](int, int i) { ++calls[static_cast<size_t>(i)]; });
      for (int i = 0; i < 50; ++i) ASSERT_EQ(calls[static_cast<size_t>(i)], i < count ? 1 : 0);
    }
  }
}

TEST(ThreadPoolTest, ThreadsKeepTheirNumbers) {
  ThreadPool pool(3);
  std::vector<std::thread::id> ids(3);
  ids[0] = std::this_thread::get_id();
  for (int job = 0; job < 200; ++job) {
    pool.ForEach(20, [&](int thread, int) {
      std::thread::id& id = ids[static_cast<size_t>(thread)];
      if (id == std::thread::id()) id = std::this_thread::get_id();
      EXPECT_EQ(id, std::this_thread::get_id());
    });
  }
}

cpu_set_t AllowedCpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  EXPECT_EQ(sched_getaffinity(0, sizeof cpus, &cpus), 0);
  return cpus;
}

// Where each thread of a pool may run.
std::vector<cpu_set_t> CpusOfThreads(ThreadPool& pool) {
  std::vector<cpu_set_t> cpus(static_cast<size_t>(pool.threads()));
  std::atomic<int> begun{0};
  pool.ForEach(pool.threads(), [&](int thread, int) {
    cpus[static_cast<size_t>(thread)] = AllowedCpus();
    ++begun;
    while (begun < pool.threads()) std::this_thread::yield();
  });
  return cpus;
}

TEST(ThreadPoolTest, WorkersStayOnACpuEachThatIsNotTheCallers) {
  const cpu_set_t all = AllowedCpus();
  ThreadPool pool(CPU_COUNT(&all));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);  // the caller moves there
    cpu_set_t taken = here;
    for (const cpu_set_t& of_thread : CpusOfThreads(pool)) {
      EXPECT_EQ(CPU_COUNT(&of_thread), 1);
      CPU_OR(&taken, &taken, &of_thread);
    }
    EXPECT_TRUE(CPU_EQUAL(&taken, &all)) << "with the caller on CPU " << cpu;
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

TEST(ThreadPoolTest, ThreadsThatAreNotAsManyAsCpusRunAnywhere) {
  const cpu_set_t all = AllowedCpus();
  ThreadPool pool(CPU_COUNT(&all) + 1);
  for (const cpu_set_t& cpus : CpusOfThreads(pool)) EXPECT_TRUE(CPU_EQUAL(&cpus, &all));
}

TEST(ThreadPoolTest, SleepingWorkersWakeUp) {
  ThreadPool pool(2);
  for (int job = 0; job < 5; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // far beyond the spin
    std::atomic<int> begun{0};
    // Only two threads together get through.
    pool.ForEach(2, [&](int, int) {
      ++begun;
      while (begun < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPoolTest, TheCallerWaitsForPiecesThatWorkersBegan) {
  ThreadPool pool(2);
  std::vector<int> done(2);
  std::atomic<bool> begun{false};
  pool.ForEach(2, [&](int thread, int i) {
    if (thread == 0) {
      while (!begun) std::this_thread::yield();
    } else {
      begun = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    done[static_cast<size_t>(i)] = 1;
  });
  EXPECT_EQ(done, (std::vector<int>{1, 1}));
}

// More threads than this machine has cores: most workers never come in time, and none is waited
// for.
TEST(ThreadPoolTest, LateWorkersAreNotWaitedFor) {
  ThreadPool pool(64);
  int64_t sum = 0;
  std::vector<int> part(64);
  for (int job = 0; job < 2000; ++job) {
    pool.ForEach(3, [&](int thread, int i) { part[static_cast<size_t>(thread)] += i; });
  }
  for (const int of_thread : part) sum += of_thread;
  EXPECT_EQ(sum, 2000 * 3);
}

// Pools that end while their workers are anywhere between two jobs.
TEST(ThreadPoolTest, NoWorkerMissesTheEnd) {
  for (int pools = 0; pools < 3000; ++pools) {
    ThreadPool pool(16);
    std::vector<int> part(16);
    for (int job = 0; job < pools % 4; ++job) {
      pool.ForEach(3, [&](int thread, int i) { part[static_cast<size_t>(thread)] += i; });
    }
  }
}

TEST(ThreadPoolTest, ParallelForCoversEveryIndexOnce) {
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    for (const int count : {0, 1, 7, 64, 1000}) {
      for (const int grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        pool.ParallelFor(count, grain, [&](int begin, int end) {
          EXPECT_LT(begin, end);
          EXPECT_LE(end - begin, grain);
          for (int i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const std::atomic<int>& times : seen) ASSERT_EQ(times, 1);
      }
    }
  }
}

TEST(ThreadPoolTest, OnePieceRunsOnTheCaller) {
  ThreadPool pool(4);
  int calls = 0;
  pool.ParallelFor(10, 10, [&](int begin, int end) {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 10);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace softsplice
