// See pausing.h.
#include "decoder_svc/engine/pausing.h"

#include <algorithm>
#include <tuple>

#include "absl/algorithm/container.h"

namespace softsplice {

int PromisedPositions(const MemoryNeed& need) {
  if (need.pauses >= kMostPauses || need.cannot_return) return need.most;
  return std::min(need.most, need.given + kPromisedRows);
}

std::optional<size_t> WhoIsPaused(absl::Span<const MemoryHolder> holders) {
  if (holders.empty()) return std::nullopt;
  const uint64_t oldest =
      absl::c_min_element(holders, [](const auto& a, const auto& b) { return a.age < b.age; })->age;
  const auto rank = [](const MemoryHolder& holder) {
    return std::tuple(holder.held, holder.batch, holder.age);
  };
  std::optional<size_t> first;
  for (size_t i = 0; i < holders.size(); ++i) {
    if (holders[i].promised_all || holders[i].age == oldest) continue;
    if (!first || rank(holders[i]) > rank(holders[*first])) first = i;
  }
  return first;
}

std::optional<size_t> WhoMakesRoom(absl::Span<const MemoryHolder> holders, bool for_batch) {
  std::optional<size_t> first;
  for (size_t i = 0; i < holders.size(); ++i) {
    const MemoryHolder& holder = holders[i];
    if (!holder.held || holder.cannot_return || (for_batch && !holder.batch)) continue;
    if (!first || holder.age > holders[*first].age) first = i;
  }
  return first;
}

}  // namespace softsplice
