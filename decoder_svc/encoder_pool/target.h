// One encoder as the pool sees it.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {

struct EncoderPool::Target {
  explicit Target(const std::string& target_address);

  const std::string address;
  const std::unique_ptr<v1::EncoderService::Stub> stub;

  // Guarded by the pool's mutex.
  absl::Status state = absl::UnavailableError("it has not answered yet");  // OK: healthy
  std::string fingerprint;                                                 // as it last said
  int in_flight = 0;
  int missed = 0;         // probes in a row without an answer in time
  bool answered = false;  // or failed, at least once
  std::unique_ptr<Probe> probe;
  absl::Time next_probe = absl::InfinitePast();
};

}  // namespace softsplice
