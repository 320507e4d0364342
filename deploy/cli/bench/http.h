// HTTP as a load needs it.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace softsplice::bench {

struct HttpRequest {
  std::string url;
  std::string body;  // JSON, posted; empty: the URL is got
  absl::Duration timeout;
};

// Sends `request` and hands on the answer's body as it comes, all on this thread, until it ends.
// `stop` is asked at least each second. Returns HTTP's status. No whole answer: UNAVAILABLE,
// DEADLINE_EXCEEDED, or CANCELLED because of `stop`.
absl::StatusOr<int> SendHttp(const HttpRequest& request, const std::function<bool()>& stop,
                             const std::function<void(absl::string_view)>& receive);

}  // namespace softsplice::bench
