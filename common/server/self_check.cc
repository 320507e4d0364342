#include "common/server/self_check.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/server/address.h"
#include "common/server/gate.h"
#include "common/server/health.h"
#include "common/time/steady.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace softsplice {
namespace {

constexpr int kChecks = 12;   // within the limit
constexpr int kFailures = 6;  // in a row

}  // namespace

SelfCheck::SelfCheck(const Server& server, absl::Duration limit)
    : server_(server), limit_(limit), answered_(SteadyNow()), thread_([this] { Run(); }) {}

SelfCheck::~SelfCheck() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (asking_ != nullptr) asking_->TryCancel();
    changed_.notify_all();
  }
  thread_.join();
}

absl::Status SelfCheck::status() const {
  const std::lock_guard lock(mutex_);
  if (failures_ < kFailures || SteadyNow() - answered_ < limit_) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(server_.address(), " has not answered for ",
                                             absl::FormatDuration(SteadyNow() - answered_)));
}

void SelfCheck::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, absl::ToChronoMilliseconds(limit_ / kChecks),
                      [this] { return stopping_; });
    if (stopping_) return;
    const uint64_t refused = server_.listener().refused();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMilliseconds(limit_ / kChecks));
    asking_ = &context;
    lock.unlock();
    const bool answered = Ask(&context);
    lock.lock();
    asking_ = nullptr;
    if (answered || server_.listener().refused() != refused) {
      failures_ = 0;
      answered_ = SteadyNow();
    } else {
      ++failures_;
    }
  }
}

bool SelfCheck::Ask(grpc::ClientContext* context) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const Gate* gate = server_.border().gate();
  const auto channel = grpc::CreateCustomChannel(
      OwnAddress(server_.address()),
      gate == nullptr ? grpc::InsecureChannelCredentials() : gate->own_credentials(), arguments);
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  request.set_service(kLivenessName);
  return grpc::health::v1::Health::NewStub(channel)->Check(context, request, &response).ok();
}

}  // namespace softsplice
