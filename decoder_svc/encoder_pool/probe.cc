#include "decoder_svc/encoder_pool/probe.h"

#include <grpcpp/channel.h>

#include <utility>

#include "common/server/status.h"
#include "decoder_svc/encoder_pool/target.h"

namespace softsplice {
namespace {

// Of each of the two calls.
constexpr int kLimitMs = 2000;

}  // namespace

Probe::Probe(const Target& target, Done done) : target_(target), done_(std::move(done)) {
  health_request_.set_service(v1::EncoderService::service_full_name());
}

void Probe::Start() {
  // gRPC's timer of the next try to connect follows the wall clock: set back by an hour, that would
  // come an hour late. The pool asks no more often than a connection may be tried.
  grpc::experimental::ChannelResetConnectionBackoff(target_.channel.get());
  info_context_.set_deadline(gpr_time_from_millis(kLimitMs, GPR_TIMESPAN));
  target_.stub->async()->GetEncoderInfo(
      &info_context_, &info_request_, &info_,
      [this](const grpc::Status& status) { OnInfo(FromGrpcStatus(status)); });
}

void Probe::Cancel() {
  info_context_.TryCancel();
  health_context_.TryCancel();
}

void Probe::OnInfo(const absl::Status& status) {
  if (!status.ok()) return End(status);
  health_context_.set_deadline(gpr_time_from_millis(kLimitMs, GPR_TIMESPAN));
  target_.health_stub->async()->Check(
      &health_context_, &health_request_, &health_,
      [this](const grpc::Status& answer) { OnHealth(FromGrpcStatus(answer)); });
}

void Probe::OnHealth(const absl::Status& status) {
  // Who has no health service is taken as it is.
  if (absl::IsUnimplemented(status)) return End(absl::OkStatus());
  if (!status.ok()) return End(status);
  if (health_.status() == grpc::health::v1::HealthCheckResponse::SERVING) {
    return End(absl::OkStatus());
  }
  End(absl::UnavailableError("it says that it does not serve"));
}

void Probe::End(const absl::Status& status) {
  // It may own what owns this.
  const Done done = std::move(done_);
  done(status, info_);
}

}  // namespace softsplice
