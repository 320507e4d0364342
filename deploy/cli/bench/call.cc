#include "deploy/cli/bench/call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/server/duration.h"
#include "common/time/steady.h"
#include "deploy/cli/client.h"

namespace softsplice::bench {

Call::Call(absl::Duration due, absl::Duration timeout, std::atomic<int64_t>& tokens, Done done)
    : tokens_(tokens), done_(std::move(done)) {
  result_.record.due = due;
  SetDeadline(context_, timeout);
}

void Call::Start(v1::DecoderService::Stub& stub, const v1::GenerateRequest& request) {
  result_.record.sent = SteadyNow();
  stub.async()->Generate(&context_, &request, this);
  StartRead(&response_);
  StartCall();
}

void Call::Abandon() {
  abandoned_ = true;
  context_.TryCancel();
}

void Call::OnReadDone(bool ok) {
  if (!ok) return;
  if (response_.has_started()) {
    result_.record.prompt_tokens = static_cast<int>(response_.started().prompt_tokens());
  } else if (response_.has_delta()) {
    OnDelta(response_.delta());
  } else if (response_.has_finished()) {
    OnFinished(response_.finished());
  }
  StartRead(&response_);
}

void Call::OnDelta(const v1::Delta& delta) {
  if (delta.channel() == v1::CHANNEL_ANSWER) result_.answer += delta.text();
  if (delta.token_ids().empty()) return;
  result_.record.arrivals.push_back({.at = SteadyNow(), .tokens = delta.token_ids_size()});
  tokens_ += delta.token_ids_size();
}

void Call::OnFinished(const v1::Finished& finished) {
  finished_ = true;
  Record& record = result_.record;
  record.end = SteadyNow();
  record.cached_tokens = static_cast<int>(finished.usage().cached_tokens());
  record.queued = GetDuration(finished.timings().queued());
  record.encode = GetDuration(finished.timings().encode());
  record.prefill = GetDuration(finished.timings().prefill());
}

void Call::OnDone(const grpc::Status& status) {
  Record& record = result_.record;
  if (!finished_) record.end = SteadyNow();
  if (!status.ok()) {
    const Failure failure = ReadFailure(status);
    record.failure = absl::StrCat(failure.code, failure.reason.empty() ? "" : " ", failure.reason);
    result_.retry = absl::Seconds(failure.retry_seconds);
  } else if (!finished_) {
    record.failure = "no end of the answer";
  }
  record.abandoned = abandoned_ && !record.completed();
  if (record.abandoned) record.failure.clear();
  // Another thread may delete this call before `done` returns.
  const Done done = std::move(done_);
  done(this, std::move(result_));
}

}  // namespace softsplice::bench
