// See scheduler.h.
#include "decoder_svc/engine/scheduler.h"

#include <algorithm>

namespace softsplice {

void PickWork(absl::Span<const std::unique_ptr<Sequence>> running, int chunk,
              std::vector<Work>& work) {
  work.clear();
  for (const auto& sequence : running) {
    const bool writes = sequence->read >= sequence->prompt_tokens;
    const int rows = writes ? 1 : std::min(sequence->unread(), chunk);
    if (rows > 0) work.push_back({sequence.get(), rows});
    if (!writes) chunk -= rows;
  }
}

}  // namespace softsplice
