// A request to a decoder: Generate.
#pragma once

#include <grpcpp/client_context.h>

#include "deploy/cli/bench/call.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice::bench {

// Its thread is one of gRPC's. It may hold the last reference to a channel, whose end waits for
// gRPC's threads: one more reason not to delete it there.
class GenerateCall final : public Call, private grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  // `stub` is borrowed.
  GenerateCall(v1::DecoderService::Stub& stub, Setup setup);
  void Start(const v1::GenerateRequest& request) override;
  void Abandon() override;

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void OnFinished(const v1::Finished& finished);

  v1::DecoderService::Stub& stub_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  bool finished_ = false;
};

}  // namespace softsplice::bench
