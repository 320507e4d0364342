// Where exceptions of libraries end: short memory above all.
#pragma once

#include <exception>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {

// What `step` returns (a Status or StatusOr). RESOURCE_EXHAUSTED: it ran out of memory. INTERNAL:
// another exception.
template <class Step>
auto Guarded(Step&& step) -> decltype(step()) {
  try {
    return step();
  } catch (const std::bad_alloc&) {
    return OutOfMemory("memory is too short to encode the medium now");
  } catch (const std::exception& error) {
    return MakeError(absl::StatusCode::kInternal, absl::StrCat("unexpected: ", error.what()),
                     {.reason = reason::kInternal});
  }
}

}  // namespace softsplice
