#include "decoder_svc/encoder_pool/encoder_pool.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "decoder_svc/encoder_pool/target.h"

namespace softsplice {
namespace {

constexpr absl::Duration kProbeLimit = absl::Seconds(3);
constexpr absl::Duration kProbeHealthy = absl::Seconds(5);
constexpr absl::Duration kProbeAway = absl::Milliseconds(300);
// A busy machine may answer late: that alone does not make an encoder unhealthy.
constexpr int kMaxMissed = 3;

// Several replicas behind one name are all used, and only those whose health says so.
constexpr char kServiceConfig[] =
    R"({"loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": "softsplice.v1.EncoderService"}})";

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

EncoderPool::Target::Target(const std::string& target_address)
    : address(target_address), stub(v1::EncoderService::NewStub(OpenChannel(target_address))) {}

// One question who an encoder is; lives until the answer was taken.
class EncoderPool::Probe {
 public:
  void Start(EncoderPool* pool, Target* target) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kProbeLimit));
    target->stub->async()->GetEncoderInfo(&context_, &request_, &info_,
                                          [this, pool, target](const grpc::Status& status) {
                                            pool->OnProbe(target, FromGrpcStatus(status), info_);
                                          });
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  v1::GetEncoderInfoRequest request_;
  v1::GetEncoderInfoResponse info_;
};

EncoderPool::EncoderPool(EncoderPoolOptions options, const Logger& logger)
    : options_(std::move(options)), logger_(logger) {
  for (const std::string& address : options_.addresses) {
    targets_.push_back(std::make_unique<Target>(address));
  }
  monitor_ = std::thread([this] { Monitor(); });
}

EncoderPool::~EncoderPool() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  for (const auto& target : targets_) {
    if (target->probe != nullptr) target->probe->Cancel();
  }
  changed_.notify_all();
  changed_.wait(lock, [this] {
    return std::all_of(targets_.begin(), targets_.end(),
                       [](const auto& target) { return target->probe == nullptr; });
  });
  lock.unlock();
  monitor_.join();
}

void EncoderPool::Monitor() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const absl::Time now = absl::Now();
    std::vector<std::pair<Probe*, Target*>> due;
    for (const auto& target : targets_) {
      if (target->probe != nullptr || now < target->next_probe) continue;
      target->probe = std::make_unique<Probe>();
      due.emplace_back(target->probe.get(), target.get());
    }
    lock.unlock();
    for (const auto& [probe, target] : due) probe->Start(this, target);
    lock.lock();
    changed_.wait_for(lock, absl::ToChronoMilliseconds(kProbeAway));
  }
}

void EncoderPool::OnProbe(Target* target, const absl::Status& status,
                          const v1::GetEncoderInfoResponse& info) {
  const std::lock_guard lock(mutex_);
  if (status.ok()) {
    target->missed = 0;
    target->fingerprint = info.encoder_fingerprint();
    SetState(target, Judge(*target, info));
  } else if (!absl::IsDeadlineExceeded(status) || ++target->missed >= kMaxMissed) {
    SetState(target, status);
  }
  target->answered = true;
  target->next_probe = absl::Now() + (target->state.ok() ? kProbeHealthy : kProbeAway);
  // Destroys the context of this very answer; gRPC allows that from here on.
  target->probe.reset();
  changed_.notify_all();
}

absl::Status EncoderPool::Judge(const Target& target, const v1::GetEncoderInfoResponse& info) {
  const auto foreign = [&](absl::string_view why) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the encoder at ", target.address, " is of another model: ", why),
                     {.reason = reason::kForeignEncoder});
  };
  if (info.dim() != static_cast<uint32_t>(options_.dim)) {
    return foreign(absl::StrCat("its width is ", info.dim(), ", the decoder's ", options_.dim));
  }
  const bool shared = std::any_of(targets_.begin(), targets_.end(), [&](const auto& other) {
    return other.get() != &target && other->state.ok() && other->fingerprint == fingerprint_;
  });
  if (info.encoder_fingerprint() != fingerprint_ && shared) {
    return foreign(absl::StrCat("its fingerprint is ",
                                absl::BytesToHexString(info.encoder_fingerprint()),
                                ", the other encoders' ", absl::BytesToHexString(fingerprint_)));
  }
  fingerprint_ = info.encoder_fingerprint();
  return absl::OkStatus();
}

void EncoderPool::SetState(Target* target, const absl::Status& state) {
  const bool changed = target->state.ok() != state.ok() || !target->answered;
  target->state = state;
  if (!changed) return;
  if (state.ok()) {
    logger_.Log(LogLevel::kInfo, "encoder is ready", {{"address", target->address}});
  } else {
    logger_.Log(LogLevel::kWarning, "encoder is not ready",
                {{"address", target->address}, {"message", std::string(state.message())}});
  }
}

absl::StatusOr<EncoderPool::Target*> EncoderPool::Acquire(const Target* other_than) {
  const std::lock_guard lock(mutex_);
  // Healthy before away, another before the same, few calls before many.
  const auto cost = [&](const Target& target) {
    return std::make_tuple(!target.state.ok(), &target == other_than, target.in_flight);
  };
  Target* best = nullptr;
  absl::Status refused = absl::OkStatus();
  for (size_t i = 0; i < targets_.size(); ++i) {
    Target* target = targets_[(next_ + i) % targets_.size()].get();
    if (absl::IsFailedPrecondition(target->state)) {
      refused = target->state;
    } else if (best == nullptr || cost(*target) < cost(*best)) {
      best = target;
    }
  }
  if (best == nullptr) return refused;
  ++next_;
  ++best->in_flight;
  return best;
}

void EncoderPool::Release(Target* target, const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  --target->in_flight;
  if (!absl::IsUnavailable(status) && !absl::IsFailedPrecondition(status)) return;
  // It is gone, or another one now: ask it, and prefer others until it answered.
  if (absl::IsUnavailable(status)) SetState(target, status);
  target->next_probe = absl::InfinitePast();
  changed_.notify_all();
}

std::string EncoderPool::fingerprint() const {
  const std::lock_guard lock(mutex_);
  return fingerprint_;
}

std::vector<EncoderTargetInfo> EncoderPool::targets() const {
  const std::lock_guard lock(mutex_);
  std::vector<EncoderTargetInfo> infos;
  for (const auto& target : targets_) {
    infos.push_back({target->address, target->state.ok(), target->in_flight});
  }
  return infos;
}

void EncoderPool::WaitForFirstAnswers(absl::Duration limit) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMilliseconds(limit), [this] {
    return std::all_of(targets_.begin(), targets_.end(),
                       [](const auto& target) { return target->answered; });
  });
}

}  // namespace softsplice
