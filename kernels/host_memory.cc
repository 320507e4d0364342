// See host_memory.h: mappings of our own, because fresh pages are zero without being touched.
#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPage = 4096;

// How far `p` is from where the next huge page starts.
size_t ToHugePage(const void* p) { return -reinterpret_cast<uintptr_t>(p) & (kHugePage - 1); }

}  // namespace

absl::StatusOr<std::shared_ptr<void>> AllocateHost(size_t bytes) {
  // The end is a small page's, so that a short tail doesn't occupy a large one.
  const size_t mapped = (std::max<size_t>(bytes, 1) + kPage - 1) & ~(kPage - 1);
  // A mapping is only aligned to small pages: ask for more, so that a huge page can start inside.
  const size_t slack = mapped >= kHugePage ? kHugePage : 0;
  void* base = bytes > SIZE_MAX - kPage - kHugePage
                   ? MAP_FAILED
                   : mmap(nullptr, mapped + slack, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    return OutOfMemory(absl::StrCat("no memory for a buffer of ", bytes, " bytes"));
  }
  char* start = static_cast<char*>(base);
  if (slack > 0) {
    const size_t skip = ToHugePage(start);
    if (skip > 0) munmap(start, skip);
    start += skip;
    munmap(start + mapped, slack - skip);
    (void)madvise(start, mapped, MADV_HUGEPAGE);  // only a hint
  }
  return std::shared_ptr<void>(start, [mapped](void* p) { munmap(p, mapped); });
}

absl::Status HostBuffer::Grow(size_t bytes) {
  if (bytes <= bytes_) return absl::OkStatus();
  // The old memory goes first: there may not be room for both.
  memory_ = nullptr;
  bytes_ = 0;
  ASSIGN_OR_RETURN(memory_, AllocateHost(bytes));
  bytes_ = bytes;
  return absl::OkStatus();
}

}  // namespace softsplice
