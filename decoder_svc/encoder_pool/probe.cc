#include "decoder_svc/encoder_pool/probe.h"

#include <utility>

#include "common/server/status.h"

namespace softsplice {
namespace {

constexpr int kLimitMs = 2000;

}  // namespace

void Probe::Start(v1::EncoderService::Stub* stub, Done done) {
  context_.set_deadline(gpr_time_from_millis(kLimitMs, GPR_TIMESPAN));
  stub->async()->GetEncoderInfo(&context_, &request_, &info_,
                                [this, done = std::move(done)](const grpc::Status& status) {
                                  done(FromGrpcStatus(status), info_);
                                });
}

}  // namespace softsplice
