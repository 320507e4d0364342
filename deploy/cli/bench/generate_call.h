// A request to a decoder: Generate, and before it CreateSession where one is wanted.
#pragma once

#include <grpcpp/client_context.h>

#include "deploy/cli/bench/call.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice::bench {

// Its thread is one of gRPC's. It may hold the last reference to a channel, whose end waits for
// gRPC's threads: one more reason not to delete it there.
class GenerateCall final : public Call, private grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  // `stub` is borrowed. `in_session`: a request without a session gets a new one.
  GenerateCall(v1::DecoderService::Stub& stub, bool in_session, Setup setup);
  void Start(const v1::GenerateRequest& request) override;
  void Abandon() override;

 private:
  void OnSession(const grpc::Status& status);
  void Generate(const v1::GenerateRequest& request);
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void OnFinished(const v1::Finished& finished);

  v1::DecoderService::Stub& stub_;
  const bool in_session_;
  v1::GenerateRequest request_;  // while a session is made for it
  v1::CreateSessionRequest create_;
  v1::CreateSessionResponse created_;
  grpc::ClientContext create_context_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  bool finished_ = false;
};

}  // namespace softsplice::bench
