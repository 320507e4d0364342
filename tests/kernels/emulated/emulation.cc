// See emulation.h. Where the program has ThreadSanitizer (this file itself is built without any
// sanitizer) it is told who waits for whom: a missing barrier is reported with both source lines.
#include "emulation.h"

#include <sanitizer/tsan_interface.h>

#include <boost/context/detail/fcontext.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/debugging/symbolize.h"

#pragma weak __tsan_get_current_fiber
#pragma weak __tsan_create_fiber
#pragma weak __tsan_destroy_fiber
#pragma weak __tsan_switch_to_fiber
#pragma weak __tsan_release
#pragma weak __tsan_acquire

namespace emulation {
namespace {

namespace context = boost::context;
using context::detail::fcontext_t;

constexpr size_t kStackBytes = 128 << 10;

// Where `members` threads meet again and again.
struct Meeting {
  unsigned members = 0, arrived = 0, round = 0;
  char order[2] = {};
};
const Meeting never;  // for threads that are done

struct Warp {
  Meeting meeting;
  alignas(64) char values[2][32 * 64];
};

// What a thread has begun: closed as groups, and done when all but the newest groups must be.
template <class T>
struct Pending {
  void Begin(T item) {
    items.push_back(item);
    ++ungrouped;
  }
  void Commit() {
    groups.push_back(ungrouped);
    ungrouped = 0;
  }
  bool Next(int newest, T& item) {
    while (groups.size() > static_cast<size_t>(newest) && groups.front() == 0) {
      groups.erase(groups.begin());
    }
    if (groups.size() <= static_cast<size_t>(newest)) return false;
    --groups.front();
    item = items.front();
    items.erase(items.begin());
    return true;
  }

  std::vector<T> items;
  std::vector<size_t> groups;  // how many of them each group has
  size_t ungrouped = 0;
};

// A fiber, which is used for one CUDA thread after another.
struct Thread {
  Thread() : stack(context::protected_fixedsize_stack(kStackBytes).allocate()) {}
  ~Thread() {
    if (races != nullptr) __tsan_destroy_fiber(races);
    context::protected_fixedsize_stack(kStackBytes).deallocate(stack);
  }

  context::stack_context stack;
  void* races = __tsan_create_fiber != nullptr ? __tsan_create_fiber(0) : nullptr;
  fcontext_t at = nullptr;
  const Meeting* waits_at = nullptr;
  unsigned round = 0;
  bool has_waited = false;            // for its predecessor
  alignas(64) char seen[2][32 * 64];  // what lanes exchanged, for ThreadSanitizer
  Pending<Copy> copies;
  Pending<Product> products;
};

struct Block {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  Meeting meeting;
};

// The kernel that runs on this thread of the host. Every other block runs on fibers of its own, or
// what one does would come before what the next one does.
thread_local const std::function<void()>* kernel = nullptr;
thread_local const void* kernel_function = nullptr;
thread_local Block blocks[2];
thread_local Block* block = nullptr;
thread_local void* shared_memory = nullptr;
thread_local Thread* self = nullptr;
thread_local unsigned self_index = 0;
thread_local fcontext_t scheduler = nullptr;
thread_local void* scheduler_races = nullptr;
thread_local char start_of_grid, end_of_grid;  // what is ordered by them

void Before(char* order) {
  if (__tsan_release != nullptr) __tsan_release(order);
}
void After(char* order) {
  if (__tsan_acquire != nullptr) __tsan_acquire(order);
}

fcontext_t SwitchTo(fcontext_t to, void* races) {
  if (races != nullptr) __tsan_switch_to_fiber(races, __tsan_switch_to_fiber_no_sync);
  return context::detail::jump_fcontext(to, nullptr).fctx;
}

void PauseAt(const Meeting& meeting) {
  self->waits_at = &meeting;
  self->round = meeting.round;
  scheduler = SwitchTo(scheduler, scheduler_races);
}

void Meet(Meeting& meeting) {
  if (++meeting.arrived < meeting.members) {
    PauseAt(meeting);
  } else {
    meeting.arrived = 0;
    ++meeting.round;
  }
}

// What one did before a barrier happened before what any of them does after it.
void MeetAt(const Barrier& barrier, Meeting& meeting) {
  if (Lane() == 0) barriers.insert(barrier);
  if (barrier == removed) return;
  char* order = &meeting.order[meeting.round % 2];
  Before(order);
  Meet(meeting);
  After(order);
}

// A copy that ThreadSanitizer does not see; it would see memcpy.
void CopyUnseen(char* to, const void* from, size_t bytes) {
  const volatile char* byte = static_cast<const volatile char*>(from);
  for (size_t i = 0; i < bytes; ++i) to[i] = byte[i];
}

void RunThreads(context::detail::transfer_t from) {
  scheduler = from.fctx;
  for (;;) {
    After(&start_of_grid);
    (*kernel)();
    Require(self->has_waited, "a thread did not call WaitForPrevious()");
    Before(&end_of_grid);
    PauseAt(never);
  }
}

[[noreturn]] void Fail(const char* what) {
  char name[256];
  if (!absl::Symbolize(kernel_function, name, sizeof(name))) std::snprintf(name, 256, "a kernel");
  std::fprintf(stderr, "%s: block (%u, %u, %u): %s\n", name, blockIdx.x, blockIdx.y, blockIdx.z,
               what);
  std::abort();
}

[[noreturn]] void FailDeadlocked(size_t count) {
  size_t done = 0, at_barrier = 0;
  for (size_t i = 0; i < count; ++i) {
    done += block->threads[i]->waits_at == &never;
    at_barrier += block->threads[i]->waits_at == &block->meeting;
  }
  char what[128];
  std::snprintf(what, sizeof(what),
                "deadlock: %zu threads at a barrier, %zu at one of their warp, %zu done",
                at_barrier, count - done - at_barrier, done);
  Fail(what);
}

unsigned Random(unsigned& state, size_t below) {
  state = state * 1664525 + 1013904223;
  return static_cast<unsigned>(uint64_t{state} * below >> 32);
}

void Shuffle(std::vector<unsigned>& order, unsigned& random) {
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[Random(random, i + 1)]);
}

std::vector<unsigned> Counted(size_t count) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

void Reset(Thread& t) {
  if (t.at == nullptr) {
    t.at = context::detail::make_fcontext(t.stack.sp, t.stack.size, RunThreads);
  }
  t.waits_at = nullptr;
  t.has_waited = false;
  t.copies = {};
  t.products = {};
}

void RunBlock(size_t count, unsigned& random) {
  const std::vector<std::unique_ptr<Thread>>& threads = block->threads;
  for (size_t i = 0; i < count; ++i) Reset(*threads[i]);
  for (Warp& warp : block->warps) warp.meeting = {.members = 32};
  block->meeting = {.members = static_cast<unsigned>(count)};
  std::vector<unsigned> order = Counted(count);
  for (size_t left = count; left > 0;) {
    bool moved = false;
    Shuffle(order, random);
    for (const unsigned i : order) {
      Thread& t = *threads[i];
      if (t.waits_at != nullptr && t.waits_at->round == t.round) continue;
      self = &t;
      self_index = i;
      threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
      t.at = SwitchTo(t.at, t.races);
      moved = true;
      left -= t.waits_at == &never;
    }
    if (!moved) FailDeadlocked(count);
  }
}

}  // namespace

bool FindsRaces() { return __tsan_create_fiber != nullptr; }

void RunGrid(dim3 grid, dim3 of_block, size_t shared, const void* function,
             const std::function<void()>& body) {
  kernel = &body;
  kernel_function = function;
  blockDim = of_block;
  gridDim = grid;
  const size_t count = size_t{of_block.x} * of_block.y * of_block.z;
  const size_t block_count = size_t{grid.x} * grid.y * grid.z;
  scheduler_races = __tsan_get_current_fiber != nullptr ? __tsan_get_current_fiber() : nullptr;
  // One block's ends where the memory does. For ThreadSanitizer each has its own.
  const size_t pitch = FindsRaces() ? (shared + 1023) / 1024 * 1024 : 0;
  const size_t bytes = FindsRaces() ? pitch * block_count : shared;
  const auto free_memory = [](void* p) { std::free(p); };
  const std::unique_ptr<void, decltype(free_memory)> memory(
      [&] {
        void* p = nullptr;
        if (posix_memalign(&p, 1024, bytes) != 0) Fail("no memory for its shared memory");
        return p;
      }(),
      free_memory);
  std::memset(memory.get(), 0xff, bytes);
  for (Block& b : blocks) {
    while (b.threads.size() < count) b.threads.push_back(std::make_unique<Thread>());
    b.warps.resize(std::max(b.warps.size(), count / 32));
  }
  unsigned random = seed++;
  std::vector<unsigned> order = Counted(block_count);
  Shuffle(order, random);
  Before(&start_of_grid);
  for (size_t n = 0; n < block_count; ++n) {
    const unsigned i = order[n];
    blockIdx = {i % gridDim.x, i / gridDim.x % gridDim.y, i / (gridDim.x * gridDim.y)};
    shared_memory = static_cast<char*>(memory.get()) + n * pitch;
    if (!FindsRaces()) std::memset(shared_memory, 0xff, shared);
    block = &blocks[n % 2];
    RunBlock(count, random);
  }
  After(&end_of_grid);
}

void* SharedMemory() { return shared_memory; }
int Lane() { return static_cast<int>(self_index % 32); }
void SyncBlock(const char* file, unsigned line) { MeetAt({file, line}, block->meeting); }
void SyncWarp(const char* file, unsigned line) {
  MeetAt({file, line}, block->warps[self_index / 32].meeting);
}
void WaitForPrevious() { self->has_waited = true; }

const void* Exchange(const void* value, size_t bytes) {
  Warp& warp = block->warps[self_index / 32];
  char* values = warp.values[warp.meeting.round % 2];
  if (!FindsRaces()) {
    std::memcpy(values + self_index % 32 * bytes, value, bytes);
    Meet(warp.meeting);
    return values;
  }
  // Lanes that exchange values are not ordered by that: neither are their accesses to memory.
  char* seen = self->seen[warp.meeting.round % 2];
  CopyUnseen(values + self_index % 32 * bytes, value, bytes);
  Meet(warp.meeting);
  CopyUnseen(seen, values, 32 * bytes);
  return seen;
}

void BeginCopy(Copy copy) { self->copies.Begin(copy); }
void CommitCopies() { self->copies.Commit(); }
bool NextCopy(int groups, Copy& copy) { return self->copies.Next(groups, copy); }

void BeginProduct(Product product) { self->products.Begin(product); }
void CommitProducts() { self->products.Commit(); }
bool NextProduct(int groups, Product& product) { return self->products.Next(groups, product); }

void Require(bool holds, const char* rule) {
  if (!holds) Fail(rule);
}

}  // namespace emulation
