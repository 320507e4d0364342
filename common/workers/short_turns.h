// How soon a thread comes to a core that others compute on.
#pragma once

#include <cstdint>

namespace softsplice {

// Has the calling thread run in turns so short that Linux (6.12 and later) lets it go before
// threads that compute, though none gets more of a core than before: what is answered at once, such
// as a refusal, does not wait for a service that is busy. Does nothing where the kernel does not
// know such turns or the sandbox forbids them; costs nothing from a thread's second time on.
void TakeShortTurns();

// sched_attr of sched_setattr(2), first version: the kernel's header that has it defines a struct
// of <sched.h>, too.
struct SchedAttr {
  uint32_t size = sizeof(SchedAttr);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // of a turn, in nanoseconds
  uint64_t deadline = 0;
  uint64_t period = 0;
};

}  // namespace softsplice
