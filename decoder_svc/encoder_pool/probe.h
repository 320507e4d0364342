// One question to an encoder: who it is, how busy, and whether it serves.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>

#include "absl/status/status.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {

struct Target;

class Probe {
 public:
  // UNAVAILABLE: it answers, but does not serve, as one that is about to stop.
  using Done = std::function<void(const absl::Status&, const v1::GetEncoderInfoResponse&)>;

  // `target` outlives the probe. `done` is called once, from a gRPC thread; it may destroy the
  // probe.
  Probe(const Target& target, Done done);

  void Start();
  void Cancel();

 private:
  void OnInfo(const absl::Status& status);
  void OnHealth(const absl::Status& status);
  void End(const absl::Status& status);

  const Target& target_;
  Done done_;
  grpc::ClientContext info_context_;
  v1::GetEncoderInfoRequest info_request_;
  v1::GetEncoderInfoResponse info_;
  grpc::ClientContext health_context_;
  grpc::health::v1::HealthCheckRequest health_request_;
  grpc::health::v1::HealthCheckResponse health_;
};

}  // namespace softsplice
