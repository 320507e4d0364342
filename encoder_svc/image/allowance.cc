// See allowance.h.
#include "encoder_svc/image/allowance.h"

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"

namespace softsplice {
namespace {

struct State {
  size_t left = SIZE_MAX;
  bool exceeded = false;      // more was wanted
  bool memory_short = false;  // the system had less
};
thread_local State state;

void* Take(void* old, size_t bytes) {
  const size_t held = old == nullptr ? 0 : malloc_usable_size(old);
  if (bytes > held && bytes - held > state.left) {
    state.exceeded = true;
    return nullptr;
  }
  void* memory = old == nullptr ? std::calloc(1, bytes) : std::realloc(old, bytes);
  if (memory == nullptr) {
    state.memory_short = true;
    return nullptr;
  }
  if (state.left == SIZE_MAX) return memory;  // no limit
  // Rounding up is the system's; it does not count.
  state.left += held;
  state.left -= std::min(state.left, malloc_usable_size(memory));
  return memory;
}

}  // namespace

Allowance::Allowance(size_t bytes) { state = {.left = std::min(bytes, SIZE_MAX - 1)}; }

Allowance::~Allowance() { state = {}; }

absl::Status Allowance::Failure(absl::string_view reason) const {
  if (state.memory_short) return OutOfMemory("no memory for the picture's pixels");
  if (state.exceeded) return InvalidMedia("the picture's data are larger than its header says");
  return InvalidMedia(absl::StrCat("the picture can't be decoded: ", reason));
}

void* AllocateAllowed(size_t bytes) { return Take(nullptr, bytes); }

void* ReallocateAllowed(void* old, size_t bytes) { return Take(old, bytes); }

void FreeAllowed(void* memory) {
  if (memory != nullptr && state.left != SIZE_MAX) state.left += malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace softsplice
