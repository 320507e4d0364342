// Which encoders' rows the decoder takes: those of one model, which does not change silently.
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace softsplice {

// Not thread-safe. Times are SteadyNow()'s.
class KnownModel {
 public:
  // With `pinned` (an encoder's fingerprint, 32 bytes) no other is ever taken.
  explicit KnownModel(std::string pinned) : pinned_(!pinned.empty()), fingerprint_(pinned) {}

  enum class Verdict {
    kSame,
    kAdopted,  // it is the first, or nobody has been of the one before for a while
    kForeign,
  };
  // What to make of the encoder at `address`, which says that it is of `fingerprint`.
  Verdict Judge(const std::string& address, absl::string_view fingerprint, absl::Duration now);

  // Empty: none was adopted yet.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  const bool pinned_;
  std::string fingerprint_;
  std::map<std::string, absl::Duration> holders_;  // who was of it, and when that was last said
};

}  // namespace softsplice
