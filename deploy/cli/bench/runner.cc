#include "deploy/cli/bench/runner.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/time/steady.h"

namespace softsplice::bench {
namespace {

// How often the progress line is renewed, and signals are looked for.
constexpr absl::Duration kTick = absl::Milliseconds(200);
// What a user waits after a failure of which the service does not say how long.
constexpr absl::Duration kRetry = absl::Seconds(1);

void AddTurn(v1::Role role, std::string text, v1::Chat& chat) {
  v1::Message& message = *chat.add_messages();
  message.set_role(role);
  message.add_parts()->set_text(std::move(text));
}

// What the next turn's request holds of the turns before it.
void AddAnswer(CallResult result, v1::GenerateRequest& request) {
  if (result.session.empty()) {
    AddTurn(v1::ROLE_MODEL, std::move(result.answer), *request.mutable_chat());
  } else {
    request.set_session_id(std::move(result.session));
    request.mutable_chat()->clear_messages();
  }
}

}  // namespace

Runner::Runner(Target& target, const Workload& workload, const v1::GenerateRequest& base,
               Interrupts& interrupts)
    : target_(target), workload_(workload), base_(base), interrupts_(interrupts) {}

std::vector<Record> Runner::Run(const Load& load, uint64_t seed) {
  load_ = load;
  arrivals_ = nullptr;
  requests_ = 0;
  tokens_ = 0;
  failed_ = 0;
  records_.clear();
  begin_ = SteadyNow();
  if (load_.users == 0) {
    arrivals_ = load_.rate > 0 ? std::make_unique<Arrivals>(load_.rate, load_.burstiness, seed)
                               : std::make_unique<Arrivals>(load_.gaps);
    ScheduleArrival(begin_);
  } else {
    for (int user = 0; user < load_.users; ++user) schedule_.emplace(begin_, nullptr);
  }
  Progress progress("sending");
  while (std::optional<Due> next = WaitForNext(progress)) Send(*std::move(next));
  return std::move(records_);
}

void Runner::ClearSchedule() {
  for (const auto& [at, talk] : schedule_) {
    if (talk != nullptr && !talk->request.session_id().empty())
      ended_sessions_.push_back(talk->request.session_id());
  }
  schedule_.clear();
}

std::unique_ptr<Runner::Talk> Runner::Begin() {
  auto talk = std::make_unique<Talk>();
  talk->script = workload_.Make(conversations_++);
  requests_ += static_cast<int>(talk->script.prompts.size());
  talk->request = base_;
  talk->request.set_max_tokens(talk->script.answer_tokens);
  v1::Chat& chat = *talk->request.mutable_chat();
  if (!talk->script.system.empty()) AddTurn(v1::ROLE_SYSTEM, talk->script.system, chat);
  *chat.add_messages() = std::move(talk->script.prompts.front());
  return talk;
}

// Made ahead of its time, so that it can be sent on time.
void Runner::ScheduleArrival(absl::Duration last) {
  if (requests_ >= load_.requests) return;
  const std::optional<absl::Duration> gap = arrivals_->NextGap();
  if (!gap) return;
  const absl::Duration due = last + *gap;
  std::unique_ptr<Talk> talk = Begin();
  std::lock_guard lock(mutex_);
  schedule_.emplace(due, std::move(talk));
}

std::optional<Runner::Due> Runner::WaitForNext(Progress& progress) {
  std::unique_lock lock(mutex_);
  while (true) {
    BuryEnded(lock);
    const absl::Duration now = SteadyNow();
    if (interrupts_.raised()) {
      for (const auto& [call, flight] : in_flight_) call->Abandon();
    }
    if (interrupts_.raised() || now - begin_ >= load_.duration) ClearSchedule();
    if (schedule_.empty() && in_flight_.empty() && ended_.empty() && ended_sessions_.empty())
      return std::nullopt;
    progress.Update(absl::StrFormat(
        "%d in work, %d done, %d failed, %.1f tok/s,", in_flight_.size(),
        static_cast<int>(records_.size()) - failed_, failed_,
        static_cast<double>(tokens_) / std::max(1e-3, absl::ToDoubleSeconds(now - begin_))));
    absl::Duration wait = kTick;
    if (!schedule_.empty()) {
      const auto first = schedule_.begin();
      if (first->first <= now) {
        Due next = {.at = first->first, .talk = std::move(first->second)};
        schedule_.erase(first);
        return next;
      }
      wait = std::min(wait, first->first - now);
    }
    changed_.wait_for(lock, absl::ToChronoNanoseconds(wait));
  }
}

void Runner::BuryEnded(std::unique_lock<std::mutex>& lock) {
  std::vector<std::unique_ptr<Call>> calls = std::exchange(ended_, {});
  const std::vector<std::string> sessions = std::exchange(ended_sessions_, {});
  lock.unlock();
  calls.clear();
  for (const std::string& session : sessions) target_.EndSession(session);
  lock.lock();
}

void Runner::Send(Due next) {
  if (next.talk == nullptr) {
    if (requests_ >= load_.requests) return;
    next.talk = Begin();
  }
  const Talk& talk = *next.talk;
  const bool arrival = arrivals_ != nullptr && talk.turn == 0;
  auto owned = target_.NewCall(
      {.due = next.at,
       .timeout = load_.timeout,
       .tokens = &tokens_,
       .done = [this](Call* done, CallResult result) { OnDone(done, std::move(result)); }});
  Call* const call = owned.get();
  {
    std::lock_guard lock(mutex_);
    in_flight_[call] = {.call = std::move(owned), .talk = std::move(next.talk)};
  }
  call->Start(talk.request);
  if (arrival) ScheduleArrival(next.at);
}

void Runner::OnDone(Call* call, CallResult result) {
  std::lock_guard lock(mutex_);
  const auto found = in_flight_.find(call);
  std::unique_ptr<Talk> talk = std::move(found->second.talk);
  ended_.push_back(std::move(found->second.call));
  in_flight_.erase(found);
  const absl::Duration now = result.record.end;
  const bool completed = result.record.completed();
  if (!completed && !result.record.abandoned) ++failed_;
  records_.push_back(std::move(result.record));
  if (completed && ++talk->turn < talk->script.prompts.size()) {
    AddAnswer(std::move(result), talk->request);
    *talk->request.mutable_chat()->add_messages() = std::move(talk->script.prompts[talk->turn]);
    schedule_.emplace(now + load_.think, std::move(talk));
    changed_.notify_all();
    return;
  }
  if (!result.session.empty()) ended_sessions_.push_back(std::move(result.session));
  if (arrivals_ == nullptr) {
    absl::Duration wait = load_.think;
    if (!completed)
      wait = std::max(wait, result.retry > absl::ZeroDuration() ? result.retry : kRetry);
    schedule_.emplace(now + wait, nullptr);
  }
  changed_.notify_all();
}

}  // namespace softsplice::bench
