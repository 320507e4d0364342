#include "decoder_svc/encoder_pool/known_model.h"

namespace softsplice {
namespace {

// A restart, or a replacement at another address, takes less: another encoder that is there all the
// while must not take over meanwhile.
constexpr absl::Duration kRemembered = absl::Seconds(60);

}  // namespace

KnownModel::Verdict KnownModel::Judge(const std::string& address, absl::string_view fingerprint,
                                      absl::Duration now) {
  // Whatever it was: only what it says now counts.
  holders_.erase(address);
  if (fingerprint.empty()) return Verdict::kForeign;
  if (fingerprint == fingerprint_) {
    holders_[address] = now;
    return Verdict::kSame;
  }
  if (pinned_) return Verdict::kForeign;
  std::erase_if(holders_, [&](const auto& holder) { return now - holder.second > kRemembered; });
  if (!holders_.empty()) return Verdict::kForeign;
  fingerprint_ = std::string(fingerprint);
  holders_[address] = now;
  return Verdict::kAdopted;
}

}  // namespace softsplice
