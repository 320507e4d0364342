#include "deploy/cli/bench/generate_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/server/duration.h"
#include "common/time/steady.h"
#include "deploy/cli/client.h"

namespace softsplice::bench {

GenerateCall::GenerateCall(v1::DecoderService::Stub& stub, bool in_session, Setup setup)
    : Call(std::move(setup)), stub_(stub), in_session_(in_session) {
  SetDeadline(create_context_, timeout_);
  SetDeadline(context_, timeout_);
}

void GenerateCall::Start(const v1::GenerateRequest& request) {
  result_.record.sent = SteadyNow();
  result_.session = request.session_id();
  if (!in_session_ || !result_.session.empty()) return Generate(request);
  request_ = request;
  create_.set_cache_salt(request.cache_salt());
  stub_.async()->CreateSession(&create_context_, &create_, &created_,
                               [this](const grpc::Status& status) { OnSession(status); });
}

void GenerateCall::OnSession(const grpc::Status& status) {
  if (!status.ok()) return OnDone(status);
  result_.session = created_.session_id();
  request_.set_session_id(created_.session_id());
  Generate(request_);
}

void GenerateCall::Generate(const v1::GenerateRequest& request) {
  stub_.async()->Generate(&context_, &request, this);
  StartRead(&response_);
  StartCall();
}

void GenerateCall::Abandon() {
  abandoned_ = true;
  create_context_.TryCancel();
  context_.TryCancel();
}

void GenerateCall::OnReadDone(bool ok) {
  if (!ok) return;
  if (response_.has_started()) {
    result_.record.prompt_tokens = static_cast<int>(response_.started().prompt_tokens());
  } else if (response_.has_delta()) {
    const v1::Delta& delta = response_.delta();
    OnMessage(delta.token_ids_size(), delta.channel() == v1::CHANNEL_ANSWER ? delta.text() : "");
  } else if (response_.has_finished()) {
    OnFinished(response_.finished());
  }
  StartRead(&response_);
}

void GenerateCall::OnFinished(const v1::Finished& finished) {
  finished_ = true;
  Record& record = result_.record;
  record.end = SteadyNow();
  record.cached_tokens = static_cast<int>(finished.usage().cached_tokens());
  record.queued = GetDuration(finished.timings().queued());
  record.encode = GetDuration(finished.timings().encode());
  record.prefill = GetDuration(finished.timings().prefill());
}

void GenerateCall::OnDone(const grpc::Status& status) {
  if (!finished_) result_.record.end = SteadyNow();
  if (status.ok()) return Finish(finished_ ? "" : "no end of the answer");
  const Failure failure = ReadFailure(status);
  result_.retry = absl::Seconds(failure.retry_seconds);
  Finish(absl::StrCat(failure.code, failure.reason.empty() ? "" : " ", failure.reason));
}

}  // namespace softsplice::bench
