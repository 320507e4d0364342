#include "common/server/server_call.h"

#include <exception>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

absl::Status ClientTooSlow(absl::string_view what, absl::Duration limit) {
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the client did not ", what, " within ", absl::FormatDuration(limit)),
      {.reason = reason::kClientTooSlow});
}

absl::Status ClientGone(absl::Duration deadline) {
  if (SteadyNow() >= deadline) {
    return MakeError(absl::StatusCode::kDeadlineExceeded, "the caller's deadline has passed",
                     {.reason = reason::kDeadlineExceeded});
  }
  return MakeError(absl::StatusCode::kCancelled, "the client is gone",
                   {.reason = reason::kCancelled});
}

absl::Status TookTooLong(absl::Duration limit) {
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   absl::StrCat("the call took more than ", absl::FormatDuration(limit),
                                ", the most that the service gives one"),
                   {.reason = reason::kDeadlineExceeded});
}

}  // namespace

ServerCall::ServerCall(Call call, const Calls& calls, CallWeight weight)
    : calls_(calls),
      weight_(weight),
      call_(std::move(call)),
      lease_(calls.border.NewLease()),
      quiet_since_(SteadyNow()) {}

bool ServerCall::Enter() {
  absl::Status status = call_.admission();
  if (status.ok()) {
    status = calls_.border.Enter(shared_from_this(), weight_ == CallWeight::kLight);
  }
  if (status.ok()) status = Room();
  if (!status.ok()) {
    End(status);
    return false;
  }
  const std::lock_guard lock(mutex_);
  limit_at_ = SteadyNow() + calls_.border.options().upload_limit;
  return true;
}

void ServerCall::OnRequest() {
  const std::lock_guard lock(mutex_);
  has_request_ = true;
  Note(DurationField("received", call_.elapsed()));
  limit_at_ = absl::InfiniteDuration();
}

void ServerCall::OnWritten(bool ok) {
  std::unique_lock lock(mutex_);
  busy_ = false;
  limit_at_ = absl::InfiniteDuration();
  quiet_since_ = SteadyNow();
  if (!ok) dropped_ = true;
  GoOn(std::move(lock));
}

void ServerCall::OnClientGone() { Abandon(ClientGone(call_.deadline())); }

void ServerCall::OnNoRequest() {
  if (call_.gone()) return OnClientGone();
  End(MakeError(absl::StatusCode::kInvalidArgument, "the call has no request message",
                {.reason = reason::kMalformedRequest}));
}

void ServerCall::OnTick(absl::Duration now) {
  std::unique_lock lock(mutex_);
  const absl::Duration limit = calls_.border.options().call_limit;
  if (weight_ == CallWeight::kHeavy && !end_ && call_.elapsed() >= limit) {
    End(TookTooLong(limit), std::move(lock));
    return Stop();
  }
  if (now < limit_at_) return GoOn(std::move(lock));
  limit_at_ = absl::InfiniteDuration();
  if (!has_request_) {
    return Abandon(ClientTooSlow("send its request", calls_.border.options().upload_limit),
                   std::move(lock));
  }
  dropped_ = true;
  end_ = ClientTooSlow("read a message", calls_.border.options().read_limit);
  call_.Abort();  // ends the write under way, and the call after it
  lock.unlock();
  Stop();
}

void ServerCall::OnDrain() {
  std::unique_lock lock(mutex_);
  if (!waiting_ || accepted_ || end_) return;
  Abandon(MakeError(absl::StatusCode::kUnavailable,
                    "the service is stopping, and the request had not begun",
                    {.reason = reason::kDraining, .retry_after = kRetryDelay}),
          std::move(lock));
}

void ServerCall::OnDrainDeadline() {
  End(MakeError(absl::StatusCode::kUnavailable,
                "the service stopped before the answer was complete",
                {.reason = reason::kDrainDeadline, .retry_after = kRetryDelay}));
  Stop();
}

void ServerCall::End(const absl::Status& status, std::unique_lock<std::mutex> lock) {
  if (!end_) end_ = status;
  GoOn(std::move(lock));
}

void ServerCall::Abandon(const absl::Status& status, std::unique_lock<std::mutex> lock) {
  if (finished_) return;
  dropped_ = true;
  if (!end_ || end_->ok()) end_ = status;
  GoOn(std::move(lock));
  Stop();
}

void ServerCall::GoOn(std::unique_lock<std::mutex> lock) {
  if (busy_) return;
  const bool write = !dropped_ && FillMessage();
  const bool announce = !write && !end_ && !dropped_ && has_request_ && !accepted_ && TimeForNews();
  if (!write && !announce && !end_) return;
  busy_ = true;
  if (write || announce) {
    limit_at_ = SteadyNow() + calls_.border.options().read_limit;
    if (!std::exchange(accepted_, true)) call_.Accept();
    lock.unlock();
    return write ? StartWriting() : StartHeaders();
  }
  finished_ = true;
  limit_at_ = absl::InfiniteDuration();
  lock.unlock();
  // Who asks how busy a service is asks often.
  const bool light = weight_ == CallWeight::kLight;
  StartFinish(call_.End(*end_, light ? LogLevel::kDebug : LogLevel::kInfo));
}

// Proxies cut a call that says nothing; but once its headers are sent no retry policy repeats it,
// so one that only waits is announced late.
bool ServerCall::TimeForNews() const {
  const bool late = waiting_ && !accepted_;
  return SteadyNow() - quiet_since_ >= (late ? absl::Seconds(5) : absl::Seconds(1));
}

void ServerCall::Note(LogField field) {
  if (!finished_) call_.Note(std::move(field));
}

absl::Status ServerCall::FromException(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return OutOfMemory("memory is short");
  }
  return MakeError(absl::StatusCode::kInternal, error.what(), {.reason = reason::kInternal});
}

}  // namespace softsplice
