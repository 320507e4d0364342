// Who is at fault when an encoder's answer is an error, and what the decoder's client hears of it.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace softsplice {

enum class Blame {
  kMedium,   // every encoder would say so
  kFull,     // it takes nothing now; its error says for how long
  kFailing,  // this encoder fails where another may not
  kAway,     // it was not reached, or is gone
  kForeign,  // it is of another model
  kTooSlow,  // time was up
};

// `status` is not OK: an encoder's, as FromGrpcStatus gives it, or what is wrong with its rows.
// An error without a reason is gRPC's own, whatever its code: never the medium's fault.
Blame BlameFor(const absl::Status& status);

// The same error for the decoder's client, naming the encoder if that is to blame.
absl::Status ForClient(const std::string& address, const absl::Status& status);

}  // namespace softsplice
