// One question who an encoder is and how it does.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>

#include "absl/status/status.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {

class Probe {
 public:
  using Done = std::function<void(const absl::Status&, const v1::GetEncoderInfoResponse&)>;

  // `done` is called once, from a gRPC thread; it may destroy the probe.
  void Start(v1::EncoderService::Stub* stub, Done done);
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  v1::GetEncoderInfoRequest request_;
  v1::GetEncoderInfoResponse info_;
};

}  // namespace softsplice
