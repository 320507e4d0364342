// Bounded optimism about memory: what a sequence is promised when it comes in, and who gives way
// when those that go on past their promise find no more, or to somebody who waits. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace softsplice {

// Rows of an answer that a sequence has room for when it comes in, or comes back.
inline constexpr int kPromisedRows = 1024;
// After so many pauses a sequence is promised all that it may need.
inline constexpr int kMostPauses = 2;

// What a sequence needs, in positions.
struct MemoryNeed {
  int given = 0;  // to be read: its prompt, and the answer so far of one that comes back
  int most = 0;   // with the whole answer
  int pauses = 0;
  bool cannot_return = false;  // what it was given can't be read again
};

// Positions that are promised. Those that are promised all are never paused: every request whose
// answer is at most kPromisedRows long is one.
int PromisedPositions(const MemoryNeed& need);

// A running sequence, as one that may have to give way.
struct MemoryHolder {
  uint64_t age = 0;  // the order in which requests came
  bool batch = false;
  bool held = false;  // its client reads too slowly
  bool promised_all = false;
  bool cannot_return = false;
};

// Which one is paused: of those that are held, else of batch requests, else of all, the youngest;
// never the oldest of all, so that one always gets to its end. None: what is promised all has to
// end first.
std::optional<size_t> WhoIsPaused(absl::Span<const MemoryHolder> holders);

// Which one is paused for a newcomer: the youngest of those that are held, whatever they were
// promised; a normal request not for a batch one. None: the newcomer waits.
std::optional<size_t> WhoMakesRoom(absl::Span<const MemoryHolder> holders, bool for_batch);

}  // namespace softsplice
