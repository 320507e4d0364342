// Which medium goes to which encoder, which waits, which is given up.
#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "decoder_svc/encoder_pool/blame.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "decoder_svc/encoder_pool/pool_state.h"
#include "decoder_svc/encoder_pool/probe.h"

namespace softsplice {
namespace {

// Failures of one medium: at one encoder, and at all of them.
constexpr int kTriesEach = 2;
constexpr int kTries = 4;
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

int FailuresAt(const PoolCall& call, const Target& target) {
  const auto found = call.failures.find(target.address);
  return found == call.failures.end() ? 0 : found->second;
}

bool MayTry(const PoolCall& call, const Target& target) {
  return !target.retired && call.tries < kTries && FailuresAt(call, target) < kTriesEach;
}

// Media that `target` takes at once, beside others that are healthy or not.
int Room(const Target& target, bool others_are_healthy, absl::Duration now) {
  switch (target.health.state(now)) {
    case v1::ENCODER_STATE_HEALTHY:
      return target.health.room();
    case v1::ENCODER_STATE_FAILING:
      if (!others_are_healthy) return target.health.room();
      return target.health.resting(now) ? 0 : 1;
    default:
      return 0;
  }
}

absl::Status Busy(size_t waiting, absl::Duration wait) {
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the encoders are busy: ", waiting, " media wait for them",
                   wait > absl::ZeroDuration()
                       ? absl::StrCat(", a new one for about ",
                                      absl::FormatDuration(absl::Ceil(wait, absl::Seconds(1))))
                       : ""),
      {.reason = reason::kQueueFull, .retry_after = std::max(wait, kRetryDelay)});
}

absl::Status TooLate() {
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   "the deadline has passed while a medium waited for an encoder",
                   {.reason = reason::kDeadlineExceeded});
}

}  // namespace

void EncoderPool::Advance(absl::Duration now, Work* work) {
  TargetPtr chosen;
  const auto fits = [&](const CallPtr& call) {
    chosen = Choose(*call, now);
    return chosen != nullptr;
  };
  while (auto call = line_.Take(fits)) {
    chosen->busy.push_back(*call);
    const std::optional<Blame> again = std::exchange((*call)->sent_back_for, std::nullopt);
    if (again) work->retries.push_back(*again);
    work->starts.emplace_back(*std::move(call), chosen);
  }
  line_.RemoveIf([&](const CallPtr& call) {
    absl::Status why = WhyNotWait(call.get(), now);
    if (why.ok()) return false;
    work->ends.emplace_back(call, std::move(why));
    return true;
  });
  if (line_.size() == 0) pace_.Rest();
  LeaveSilent(work);
  std::erase_if(targets_, [](const TargetPtr& target) {
    return target->retired && target->busy.empty() && target->probe == nullptr;
  });
  TellChanges(now, work);
}

EncoderPool::TargetPtr EncoderPool::Choose(const PoolCall& call, absl::Duration now) {
  if (call.cancelled()) return nullptr;
  const bool healthy = std::any_of(targets_.begin(), targets_.end(), [&](const TargetPtr& target) {
    return MayTry(call, *target) && target->health.state(now) == v1::ENCODER_STATE_HEALTHY;
  });
  const auto cost = [&](const Target& target) {
    return std::make_tuple(FailuresAt(call, target), target.health.resting(now),
                           static_cast<int>(target.busy.size()) + target.others,
                           target.expected_wait);
  };
  TargetPtr best;
  for (size_t i = 0; i < targets_.size(); ++i) {
    const TargetPtr& target = targets_[(next_ + i) % targets_.size()];
    if (!MayTry(call, *target)) continue;
    if (static_cast<int>(target->busy.size()) >= Room(*target, healthy, now)) continue;
    if (best == nullptr || cost(*target) < cost(*best)) best = target;
  }
  if (best != nullptr) ++next_;
  return best;
}

absl::Duration EncoderPool::AllFullFor(const PoolCall& call, absl::Duration now) const {
  absl::Duration least = absl::InfiniteDuration();
  for (const TargetPtr& target : targets_) {
    if (!MayTry(call, *target) || !target->health.usable()) continue;
    least = std::min(least, target->health.full_for(now));
  }
  // Who is waited for while none is there may come back with an empty queue.
  return least == absl::InfiniteDuration() ? absl::ZeroDuration() : least;
}

absl::Status EncoderPool::WhyNotWait(PoolCall* call, absl::Duration now) {
  if (call->cancelled()) return absl::CancelledError("the request was cancelled");
  if (now >= call->deadline()) return TooLate();
  if (absl::Status hopeless = WhyHopeless(*call, now); !hopeless.ok()) return hopeless;
  const absl::Duration end = std::min(call->deadline(), call->wait_until);
  const absl::Duration full = AllFullFor(*call, now);
  if (call->admitted && now + full < end) return absl::OkStatus();
  const absl::Duration wait = std::max(full, pace_.Wait(line_.Place(call->request()), now));
  if (line_.size() > options_.max_waiting || now + wait >= end) {
    return Busy(line_.size() - 1, wait);
  }
  call->admitted = true;
  return absl::OkStatus();
}

absl::Status EncoderPool::WhyHopeless(const PoolCall& call, absl::Duration now) const {
  absl::Status away;
  absl::Status foreign;
  for (const TargetPtr& target : targets_) {
    if (!MayTry(call, *target)) continue;
    if (target->health.usable() || target->health.just_lost(now)) return absl::OkStatus();
    const absl::Status why = target->health.why(now);
    if (target->health.state(now) == v1::ENCODER_STATE_FOREIGN) {
      foreign = why;
    } else {
      away = ForClient(target->address, why);
    }
  }
  if (!call.last_failure.ok()) return call.last_failure;
  for (const auto& name : names_) {
    if (!name->addresses.empty()) continue;
    if (now - name->since < TargetHealth::kGrace) return absl::OkStatus();
    away = MakeError(absl::StatusCode::kUnavailable, name->failure.message(),
                     {.reason = reason::kEncoderUnavailable, .retry_after = kRetryDelay});
  }
  return !away.ok() ? away : foreign;
}

void EncoderPool::LeaveSilent(Work* work) {
  for (const TargetPtr& target : targets_) {
    if (target->busy.empty() || !target->health.silent()) continue;
    const bool another = std::any_of(targets_.begin(), targets_.end(), [&](const TargetPtr& other) {
      return other != target && !other->retired && other->health.usable();
    });
    if (!another) continue;
    for (CallPtr& call : std::exchange(target->busy, {})) {
      work->leaves.emplace_back(std::move(call), target);
    }
  }
}

void EncoderPool::OnResult(const CallPtr& call, const TargetPtr& target, Outcome outcome) {
  Update([&](absl::Duration now, Work* work) {
    std::erase(target->busy, call);
    if (call->cancelled()) {
      work->ends.emplace_back(call, absl::CancelledError("the request was cancelled"));
      return;
    }
    const absl::Status status = outcome.medium.status();
    if (status.ok()) pace_.Served(now, line_.size() > 0);
    if (status.ok() || outcome.final) {
      if (status.ok()) target->health.Succeeded();
      work->ends.emplace_back(call, std::move(outcome.medium));
      return;
    }
    const Blame blame = BlameFor(status);
    call->last_failure = ForClient(target->address, status);
    switch (blame) {
      case Blame::kMedium:
        target->health.Succeeded();
        break;
      case Blame::kFull:
        target->health.Full(status, GetErrorDetail(status).retry_after, now);
        call->last_failure = absl::OkStatus();
        break;
      case Blame::kAway:
        target->health.Lost(status, now);
        AskAgain(target.get());
        ++call->failures[target->address];
        break;
      case Blame::kForeign:
        AskAgain(target.get());
        [[fallthrough]];
      case Blame::kFailing:
      case Blame::kTooSlow:
        target->health.Failed(status, now);
        call->failures[target->address] = kTriesEach;
    }
    if (blame == Blame::kMedium || blame == Blame::kTooSlow) {
      work->ends.emplace_back(call, call->last_failure);
    } else {
      if (blame != Blame::kFull) ++call->tries;
      call->admitted = true;
      call->sent_back_for = blame;
      line_.AddFirst(call->request(), call);
    }
  });
}

void EncoderPool::TellChanges(absl::Duration now, Work* work) {
  for (const TargetPtr& target : targets_) {
    const v1::EncoderState state = target->health.state(now);
    // A full queue is no event, and who was not asked yet is not away.
    if (state == target->told || state == v1::ENCODER_STATE_FULL || !target->answered) continue;
    target->told = state;
    if (state == v1::ENCODER_STATE_HEALTHY) {
      work->Log(LogLevel::kInfo, "encoder is ready", {{"address", target->address}});
    } else {
      work->Log(LogLevel::kWarning, "encoder is not ready",
                {{"address", target->address},
                 {"state", v1::EncoderState_Name(state)},
                 {"message", std::string(target->health.why(now).message())}});
    }
  }
}

}  // namespace softsplice
