// See pipeline.h.
#include "encoder_svc/pipeline.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "encoder_svc/guarded.h"

namespace softsplice {
namespace {

// Sooner than this no place becomes free that others don't take.
constexpr absl::Duration kLeastDelay = absl::Seconds(1);

absl::Status QueueFull(absl::string_view message, absl::Duration ahead) {
  return MakeError(absl::StatusCode::kResourceExhausted, message,
                   {.reason = reason::kQueueFull, .retry_after = std::max(kLeastDelay, ahead)});
}

std::string Rounded(absl::Duration span) {
  return absl::FormatDuration(absl::Ceil(span, absl::Milliseconds(100)));
}

}  // namespace

Pipeline::Pipeline(const EncoderOptions& options, int towers)
    : options_(options),
      backlog_(towers),
      towers_(towers),
      decoders_(options.decode_threads, options.decode_memory) {}

absl::Status Pipeline::CheckRoom(const Medium& medium) const {
  RETURN_IF_ERROR(medium.CheckWanted());
  if (SteadyNow() >= medium.needed_by) return Medium::Late();
  const absl::Duration ahead = backlog_.Ahead();
  if (places_.total() >= static_cast<uint64_t>(options_.max_queue)) {
    return QueueFull(
        absl::StrCat("the encoder's queue is full (", options_.max_queue, " media wait)"), ahead);
  }
  if (ahead > options_.max_wait) {
    return QueueFull(absl::StrCat("what waits will keep the encoder busy for ", Rounded(ahead),
                                  "; at most ", Rounded(options_.max_wait), " are waited for"),
                     ahead);
  }
  if (SteadyNow() + ahead > medium.needed_by) {
    return QueueFull(absl::StrCat("what waits will keep the encoder busy for ", Rounded(ahead),
                                  ", beyond the request's deadline"),
                     ahead);
  }
  return absl::OkStatus();
}

absl::Status Pipeline::Decode(const SharedMedium& medium, const Cost& cost, Step step) {
  {
    const std::lock_guard lock(admission_);
    RETURN_IF_ERROR(CheckRoom(*medium));
    medium->place = places_.Add(1);
    medium->work = backlog_.Add(cost.tower, cost.rows);
    medium->cancel->Notify([this, waiting = std::weak_ptr<Medium>(medium)] {
      if (const SharedMedium there = waiting.lock()) TakeOut(*there);
    });
    medium->since = SteadyNow();
    JobQueue::Job job{
        .owner = medium, .cost = cost.bytes, .lasting = cost.lasting, .fenced = cost.fenced};
    job.run = [medium, step = std::move(step)](Tally::Part taken, const auto&) mutable {
      medium->queued += SteadyNow() - medium->since;
      medium->memory = std::move(taken);
      const absl::Status wanted = medium->CheckWanted();
      return Conclude({medium}, wanted.ok() ? Guarded(step) : wanted);
    };
    RETURN_IF_ERROR(decoders_.Add(std::move(job)));
  }
  TakeOutIfCancelled(*medium);
  return absl::OkStatus();
}

void Pipeline::Encode(const SharedMedium& medium, Alike alike, StepOfAll step) {
  medium->since = SteadyNow();
  const absl::Status status = Guarded([&] {
    return towers_.Add(
        {.owner = medium,
         .kind = alike.kind,
         .together = alike.together,
         .run = [medium, step = std::move(step)](const auto&, const auto& with) mutable {
           return DoTogether(medium, with, step);
         }});
  });
  if (!status.ok()) return End(*medium, status);
  TakeOutIfCancelled(*medium);
}

Pipeline::Answer Pipeline::DoTogether(const SharedMedium& first,
                                      const std::vector<JobQueue::Owner>& with, StepOfAll& step) {
  Media all = {first}, media;
  for (const JobQueue::Owner& owner : with) all.push_back(std::static_pointer_cast<Medium>(owner));
  for (const SharedMedium& medium : all) {
    medium->queued += SteadyNow() - medium->since;
    medium->place = {};
    const absl::Status wanted = medium->CheckWanted();
    wanted.ok() ? media.push_back(medium) : End(*medium, wanted);
  }
  if (media.empty()) return [] {};
  return Conclude(media, Guarded([&] { return step(media); }));
}

Pipeline::Answer Pipeline::Conclude(const Media& media, absl::StatusOr<Answer> answer) {
  if (!answer.ok()) return [media, end = answer.status()] { EndAll(media, end); };
  return [media, tell = *std::move(answer)]() mutable {
    const absl::Status told = Guarded([&] {
      tell();
      return absl::OkStatus();
    });
    if (!told.ok()) EndAll(media, told);
  };
}

void Pipeline::End(Medium& medium, const absl::Status& status) {
  medium.Release();
  // Whoever can't even be told the end for want of memory has no use for another error.
  (void)Guarded([&] {
    medium.Tell(status);
    return absl::OkStatus();
  });
}

void Pipeline::EndAll(const Media& media, const absl::Status& status) {
  for (const SharedMedium& medium : media) End(*medium, status);
}

void Pipeline::TakeOut(Medium& medium) {
  Medium::Parking parked = Medium::Parking::kParked;
  const bool waits = decoders_.Remove(&medium) || towers_.Remove(&medium) ||
                     medium.parking.compare_exchange_strong(parked, Medium::Parking::kLeft);
  if (waits) End(medium, Medium::Cancelled());
}

// It was nowhere to be found until now: whoever cancelled it may have missed it.
void Pipeline::TakeOutIfCancelled(Medium& medium) {
  if (medium.cancel->cancelled()) TakeOut(medium);
}

void Pipeline::Offer(Medium& medium) {
  medium.place = places_.Add(1);
  medium.parked = parked_.Add(1);
  medium.parking = Medium::Parking::kOffered;
}

bool Pipeline::Park(Medium& medium) {
  Medium::Parking offered = Medium::Parking::kOffered;
  if (!medium.parking.compare_exchange_strong(offered, Medium::Parking::kParked)) return true;
  TakeOutIfCancelled(medium);
  return false;
}

bool Pipeline::Leave(Medium& medium) {
  return medium.parking.exchange(Medium::Parking::kLeft) == Medium::Parking::kParked;
}

EncoderLoadFigures Pipeline::load() const {
  return {.queued = decoders_.waiting() + towers_.waiting(),
          .encoding = towers_.running(),
          .decoding = decoders_.running(),
          .parked = static_cast<int>(parked_.total()),
          .expected_wait = backlog_.Ahead()};
}

absl::Duration Pipeline::busy_since() const {
  return std::min(decoders_.busy_since(), towers_.busy_since());
}

void Pipeline::Shutdown() {
  decoders_.Shutdown();  // what it has goes to the towers
  towers_.Shutdown();
}

}  // namespace softsplice
