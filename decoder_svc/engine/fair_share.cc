// See fair_share.h.
#include "decoder_svc/engine/fair_share.h"

#include <algorithm>
#include <optional>

namespace softsplice {

int64_t FairShare::LeastSpent() const {
  std::optional<int64_t> least;
  for (const auto& [name, client] : clients_) {
    if (client.sequences > 0) least = std::min(least.value_or(client.spent), client.spent);
  }
  return least.value_or(0);
}

void FairShare::Enter(const std::string& client) {
  const int64_t least = LeastSpent();
  Client& entered = clients_[client];
  if (entered.sequences++ == 0) entered.spent = std::max(entered.spent, least);
}

// Those who are gone are forgotten once they would start like a newcomer, all of them when nobody
// is left.
void FairShare::Leave(const std::string& client) {
  --clients_.at(client).sequences;
  const bool none = std::none_of(clients_.begin(), clients_.end(),
                                 [](const auto& entry) { return entry.second.sequences > 0; });
  const int64_t least = LeastSpent();
  absl::erase_if(clients_, [&](const auto& entry) {
    return entry.second.sequences == 0 && (none || entry.second.spent <= least);
  });
}

}  // namespace softsplice
