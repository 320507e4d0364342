// A limit on what libraries allocate whose allocators get no context.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace softsplice {

// While it lives, what this thread takes through the functions below is at most `bytes` at a time;
// they give null for more. Not to be nested.
class Allowance {
 public:
  explicit Allowance(size_t bytes);
  ~Allowance();
  Allowance(const Allowance&) = delete;
  Allowance& operator=(const Allowance&) = delete;

  // Why a picture could not be decoded: RESOURCE_EXHAUSTED, the system had no more memory;
  // INVALID_ARGUMENT, the decoder wanted more than it may have, or else `reason`.
  absl::Status Failure(absl::string_view reason) const;
};

// As malloc, realloc and free. New memory is zeroed, so that pixels which a broken file never
// writes don't show what was there.
void* AllocateAllowed(size_t bytes);
void* ReallocateAllowed(void* old, size_t bytes);
void FreeAllowed(void* memory);

}  // namespace softsplice
