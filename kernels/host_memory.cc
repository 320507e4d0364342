// See host_memory.h: mappings of our own, because fresh pages are zero without being touched.
#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {

absl::StatusOr<std::shared_ptr<void>> AllocateHost(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t mapped = std::max<size_t>(bytes, 1);
  // A mapping is only aligned to small pages: ask for more, so that a huge page can start inside.
  const size_t slack = mapped >= kHugePage ? kHugePage : 0;
  void* base = mapped > SIZE_MAX - slack ? MAP_FAILED
                                         : mmap(nullptr, mapped + slack, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return MakeError(absl::StatusCode::kResourceExhausted,
                     absl::StrCat("no memory for a buffer of ", bytes, " bytes"),
                     {.reason = "OUT_OF_MEMORY"});
  }
  char* start = static_cast<char*>(base);
  if (slack > 0) {
    start += (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
    (void)madvise(start, mapped, MADV_HUGEPAGE);  // only a hint
  }
  return std::shared_ptr<void>(start, [base, size = mapped + slack](void*) { munmap(base, size); });
}

}  // namespace softsplice
