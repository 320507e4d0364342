#include "deploy/cli/bench/call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/time/steady.h"

namespace softsplice::bench {

Call::Call(Setup setup)
    : timeout_(setup.timeout), tokens_(*setup.tokens), done_(std::move(setup.done)) {
  result_.record.due = setup.due;
}

void Call::OnMessage(int tokens, absl::string_view answer) {
  absl::StrAppend(&result_.answer, answer);
  if (tokens == 0) return;
  result_.record.arrivals.push_back({.at = SteadyNow(), .tokens = tokens});
  tokens_ += tokens;
}

void Call::Finish(std::string failure) {
  Record& record = result_.record;
  record.abandoned = abandoned_ && !failure.empty();
  if (!record.abandoned) record.failure = std::move(failure);
  // Another thread may delete this call before `done` returns.
  const Done done = std::move(done_);
  done(this, std::move(result_));
}

}  // namespace softsplice::bench
