#include "decoder_svc/encoder_pool/encoder_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/duration.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "decoder_svc/encoder_pool/blame.h"
#include "decoder_svc/encoder_pool/encoder_secrets.h"
#include "decoder_svc/encoder_pool/pool_state.h"
#include "decoder_svc/encoder_pool/probe.h"

namespace softsplice {
namespace {

// From an encoder's answer to the next question: if all is well, and if not.
constexpr absl::Duration kProbeCalm = absl::Seconds(3);
constexpr absl::Duration kProbeKeen = absl::Milliseconds(300);
// How late a time in the pool may be noticed, with media in its line and without.
constexpr auto kTickBusy = std::chrono::milliseconds(20);
constexpr auto kTickIdle = std::chrono::milliseconds(200);

// The target of `address` with the certificates of now, if there is one. One with older ones stays
// beside it until it has answered: so it takes good ones to end what works.
std::shared_ptr<Target> Keep(const std::vector<std::shared_ptr<Target>>& targets,
                             const std::string& address, const ChannelSecurity& security) {
  std::shared_ptr<Target> newest;
  for (const auto& target : targets) {
    if (target->address == address && target->tls == security.tls) newest = target;
  }
  if (newest != nullptr && newest->health.usable()) return newest;
  for (const auto& target : targets) {
    if (target->address == address && target->health.usable()) target->retired = false;
  }
  return newest;
}

}  // namespace

EncoderPool::EncoderPool(EncoderPoolOptions options, const Logger& logger)
    : options_(std::move(options)), logger_(logger), model_(options_.fingerprint) {
  const absl::Duration now = SteadyNow();
  const std::lock_guard lock(mutex_);
  for (const EncoderName& encoder : options_.encoders) {
    auto& name = names_.emplace_back(std::make_unique<Name>(Name{.name = encoder, .since = now}));
    if (encoder.named()) {
      name->resolver = std::make_unique<Resolver>(
          encoder, [this, name = name.get()](const Resolver::Addresses& addresses) {
            OnAddresses(name, addresses);
          });
    } else {
      name->addresses = {encoder.address};
      name->answered = true;
    }
  }
  FindTargets(now);
  monitor_ = std::thread([this] { Monitor(); });
}

EncoderPool::~EncoderPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const TargetPtr& target : targets_) {
      if (target->probe != nullptr) target->probe->Cancel();
    }
    changed_.notify_all();
  }
  monitor_.join();
  for (const auto& name : names_) name->resolver.reset();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] {
    return std::all_of(targets_.begin(), targets_.end(),
                       [](const TargetPtr& target) { return target->probe == nullptr; });
  });
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (const TargetPtr& target : targets_) channels.push_back(target->channel);
  targets_.clear();
  lock.unlock();
  // The last channel of a process ends the threads that gRPC calls back on, so it must not end on
  // one of them: those that told of a last answer let go of it first.
  for (const std::shared_ptr<grpc::Channel>& channel : channels) {
    while (channel.use_count() > 1) absl::SleepFor(absl::Milliseconds(1));
  }
}

std::shared_ptr<EncoderPool::Call> EncoderPool::Encode(EncodeJob job, Done done) {
  auto call = std::make_shared<PoolCall>(this, std::move(job), std::move(done), SteadyNow());
  Update([&](absl::Duration, Work*) { line_.AddLast(call->request(), call); });
  return call;
}

void EncoderPool::Update(const std::function<void(absl::Duration, Work*)>& change) {
  Work work;
  {
    const std::lock_guard lock(mutex_);
    const absl::Duration now = SteadyNow();
    change(now, &work);
    Advance(now, &work);
  }
  Do(std::move(work));
}

void EncoderPool::Do(Work work) {
  for (const Work::Line& line : work.lines) logger_.Log(line.level, line.event, line.fields);
  for (const auto& [call, target, why] : work.leaves) call->Leave(*target, why);
  for (const Blame why : work.retries) options_.on_retry(why);
  for (auto& [call, target] : work.starts) call->Start(std::move(target));
  for (const TargetPtr& target : work.probes) target->probe->Start();
  // Last: with the last medium's end the pool may end too.
  for (auto& [call, medium] : work.ends) call->End(std::move(medium));
}

void EncoderPool::Monitor() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    const bool new_secrets = options_.secrets != nullptr && options_.secrets->Look();
    Update([&](absl::Duration now, Work* work) {
      if (new_secrets) FindTargets(now);
      BeginProbes(now, work);
    });
    lock.lock();
    if (stopping_) return;
    const bool busy = std::any_of(targets_.begin(), targets_.end(),
                                  [](const TargetPtr& target) { return !target->busy.empty(); });
    changed_.wait_for(lock, busy || line_.size() > 0 ? kTickBusy : kTickIdle);
  }
}

void EncoderPool::OnAddresses(Name* name, const Resolver::Addresses& addresses) {
  Update([&](absl::Duration now, Work* work) {
    const bool worse = name->failure.ok() && !addresses.ok();
    name->answered = true;
    name->failure = addresses.status();
    if (worse) {
      work->Log(LogLevel::kWarning, "encoders can't be looked up",
                {{"name", name->name.text}, {"message", std::string(name->failure.message())}});
    }
    // Those that were known may be there all the same.
    if (addresses.ok()) name->addresses = *addresses;
    FindTargets(now);
    changed_.notify_all();
  });
}

void EncoderPool::FindTargets(absl::Duration now) {
  const ChannelSecurity security =
      options_.secrets == nullptr ? ChannelSecurity() : options_.secrets->security();
  for (const TargetPtr& target : targets_) target->retired = true;
  for (const auto& name : names_) {
    for (const std::string& address : name->addresses) {
      if (TargetPtr found = Keep(targets_, address, security)) {
        found->retired = false;
      } else {
        targets_.push_back(std::make_shared<Target>(address, name->name, security, now));
      }
    }
  }
}

void EncoderPool::BeginProbes(absl::Duration now, Work* work) {
  if (stopping_) return;
  for (const TargetPtr& target : targets_) {
    if (target->probe != nullptr || now < target->next_probe) continue;
    target->probe = std::make_unique<Probe>(
        *target,
        [this, target](const absl::Status& status, const v1::GetEncoderInfoResponse& info) {
          OnProbe(target, status, info);
        });
    work->probes.push_back(target);
  }
}

void EncoderPool::AskAgain(Target* target) {
  target->next_probe = -absl::InfiniteDuration();
  // Another may stand for it by now.
  for (const auto& name : names_) {
    if (name->resolver != nullptr) name->resolver->Hurry();
  }
  changed_.notify_all();
}

void EncoderPool::OnProbe(const TargetPtr& target, const absl::Status& status,
                          const v1::GetEncoderInfoResponse& info) {
  Update([&](absl::Duration now, Work* work) {
    const bool usable = target->health.usable();
    if (status.ok()) {
      target->fingerprint = info.encoder_fingerprint();
      target->health.Answered(info, Judge(*target, info, now, work));
      const v1::EncoderLoad& load = info.load();
      const uint32_t all = load.queued() + load.encoding() + load.decoding() + load.parked();
      target->others = std::max(0, static_cast<int>(all) - static_cast<int>(target->busy.size()));
      target->expected_wait = GetDuration(load.expected_wait());
    } else {
      if (absl::IsDeadlineExceeded(status)) {
        target->health.Missed(now);
      } else {
        target->health.Lost(status, now);
      }
      AskAgain(target.get());
    }
    if (!usable && target->health.usable()) FindTargets(now);  // one with older certificates goes
    target->next_probe = now + (status.ok() && target->health.usable() ? kProbeCalm : kProbeKeen);
    target->answered = true;
  });
  const std::lock_guard lock(mutex_);
  // Destroys the context of this very answer; gRPC allows that from here on. The pool may end now.
  target->probe.reset();
  changed_.notify_all();
}

absl::Status EncoderPool::Judge(const Target& target, const v1::GetEncoderInfoResponse& info,
                                absl::Duration now, Work* work) {
  const auto foreign = [&](absl::string_view why) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the encoder at ", target.address, " is of another model: ", why),
                     {.reason = reason::kForeignEncoder});
  };
  if (info.dim() != static_cast<uint32_t>(options_.dim)) {
    return foreign(absl::StrCat("its width is ", info.dim(), ", the decoder's ", options_.dim));
  }
  const std::string before = absl::BytesToHexString(model_.fingerprint());
  const std::string its = absl::BytesToHexString(info.encoder_fingerprint());
  switch (model_.Judge(target.address, info.encoder_fingerprint(), now)) {
    case KnownModel::Verdict::kSame:
      break;
    case KnownModel::Verdict::kForeign:
      return foreign(absl::StrCat("its fingerprint is ", its, ", the one that is taken ", before));
    case KnownModel::Verdict::kAdopted:
      if (before.empty()) {
        work->Log(LogLevel::kInfo, "the encoders' model is known",
                  {{"address", target.address}, {"fingerprint", its}});
      } else {
        work->Log(LogLevel::kWarning, "the encoders' model is another now",
                  {{"address", target.address}, {"fingerprint", its}, {"before", before}});
      }
  }
  return absl::OkStatus();
}

void EncoderPool::OnCancel() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

std::string EncoderPool::fingerprint() const {
  const std::lock_guard lock(mutex_);
  return model_.fingerprint();
}

std::vector<EncoderTargetInfo> EncoderPool::targets() const {
  const std::lock_guard lock(mutex_);
  const absl::Duration now = SteadyNow();
  std::vector<EncoderTargetInfo> infos;
  for (const TargetPtr& target : targets_) {
    if (target->retired) continue;
    infos.push_back({.address = target->address,
                     .name = target->name,
                     .state = target->health.state(now),
                     .reason = std::string(target->health.why(now).message()),
                     .fingerprint = target->fingerprint,
                     .in_flight = static_cast<int>(target->busy.size())});
  }
  for (const auto& name : names_) {
    if (!name->addresses.empty()) continue;
    infos.push_back({.name = name->name.text, .reason = std::string(name->failure.message())});
  }
  return infos;
}

void EncoderPool::WaitForFirstAnswers(absl::Duration limit) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(limit), [this] {
    return std::all_of(names_.begin(), names_.end(),
                       [](const auto& name) { return name->answered; }) &&
           std::all_of(targets_.begin(), targets_.end(),
                       [](const TargetPtr& target) { return target->answered; });
  });
}

}  // namespace softsplice
