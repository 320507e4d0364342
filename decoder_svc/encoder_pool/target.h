// One encoder as the pool sees it.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/server/secure_channel.h"
#include "decoder_svc/encoder_pool/encoder_name.h"
#include "decoder_svc/encoder_pool/target_health.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {

class PoolCall;
class Probe;

struct Target {
  // `address` is one of those that `name` stands for.
  Target(const std::string& address, const EncoderName& name, const ChannelSecurity& security,
         absl::Duration now);
  ~Target();

  const std::string address;
  const std::string name;
  const std::shared_ptr<const TlsSet> tls;  // that the channel was made with
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::EncoderService::Stub> stub;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_stub;

  // Guarded by the pool's mutex.
  TargetHealth health;
  std::string fingerprint;                      // as it last said
  std::vector<std::shared_ptr<PoolCall>> busy;  // the media that it has
  int others = 0;                               // media that it has of others, as of the last probe
  absl::Duration expected_wait;                 // likewise, of a new medium
  bool answered = false;                        // or failed, at least once
  bool retired = false;          // its name does not stand for it any more: no new media
  std::unique_ptr<Probe> probe;  // under way
  absl::Duration next_probe = -absl::InfiniteDuration();
  v1::EncoderState told = v1::ENCODER_STATE_UNSPECIFIED;  // in the log
};

}  // namespace softsplice
