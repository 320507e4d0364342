#include "deploy/cli/bench/decoder_target.h"

#include <grpc/grpc.h>

#include <utility>

#include "common/status/macros.h"
#include "deploy/cli/bench/generate_call.h"
#include "deploy/cli/bench/synthetic.h"
#include "deploy/cli/client.h"
#include "softsplice/v1/decoder.grpc.pb.h"

namespace softsplice::bench {
namespace {

using Stub = v1::DecoderService::Stub;

class DecoderTarget final : public Target {
 public:
  DecoderTarget(const std::shared_ptr<grpc::Channel>& channel, bool sessions,
                Interrupts& interrupts)
      : stub_(v1::DecoderService::NewStub(channel)), sessions_(sessions), interrupts_(interrupts) {}

  std::unique_ptr<Call> NewCall(Call::Setup setup) override {
    return std::make_unique<GenerateCall>(*stub_, sessions_, std::move(setup));
  }

  // What fails here is deleted by the decoder when it has idled.
  void EndSession(const std::string& session) override {
    v1::DeleteSessionRequest request;
    request.set_session_id(session);
    v1::DeleteSessionResponse response;
    Send(&Stub::DeleteSession, request, response).IgnoreError();
  }

  absl::Status Ask() {
    RETURN_IF_ERROR(AskInfo());
    RETURN_IF_ERROR(FindStopTokens());
    return CountWords();
  }

 private:
  template <class Request, class Response>
  absl::Status Send(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    constexpr absl::Duration kLimit = absl::Seconds(30);
    grpc::ClientContext context;
    SetDeadline(context, kLimit);
    interrupts_.OnRaise([&] { context.TryCancel(); });
    if (interrupts_.raised()) context.TryCancel();
    const grpc::Status status = (*stub_.*method)(&context, request, &response);
    interrupts_.OnRaise({});
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

  absl::Status AskInfo() {
    v1::GetDecoderInfoResponse response;
    RETURN_IF_ERROR(Send(&Stub::GetDecoderInfo, v1::GetDecoderInfoRequest(), response));
    info_.kind = "softsplice";
    info_.version = response.version();
    info_.model = response.model_name();
    info_.runs_on = response.backend();
    info_.context_length = static_cast<int>(response.context_length());
    return absl::OkStatus();
  }

  absl::Status FindStopTokens() {
    for (const char* name : {"<eos>", "<turn|>", "<|tool_response>"}) {
      v1::CountTokensRequest request;
      request.mutable_raw()->set_no_bos(true);
      request.mutable_raw()->add_parts()->set_text_with_special_tokens(name);
      request.set_include_token_ids(true);
      v1::CountTokensResponse response;
      RETURN_IF_ERROR(Send(&Stub::CountTokens, request, response));
      // Several ids: the vocabulary has no such token.
      if (response.token_ids_size() == 1) info_.stop_tokens.push_back(response.token_ids(0));
    }
    return absl::OkStatus();
  }

  absl::Status CountWords() {
    constexpr int kWords = 1000;
    Random random;
    v1::CountTokensRequest request;
    request.mutable_raw()->set_no_bos(true);
    request.mutable_raw()->add_parts()->set_text(RandomWords(random, kWords));
    v1::CountTokensResponse response;
    RETURN_IF_ERROR(Send(&Stub::CountTokens, request, response));
    info_.tokens_per_word = static_cast<double>(response.tokens()) / kWords;
    return absl::OkStatus();
  }

  const std::unique_ptr<Stub> stub_;
  const bool sessions_;
  Interrupts& interrupts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> ConnectDecoder(const std::string& address,
                                                       const Access& access, bool sessions,
                                                       Interrupts& interrupts) {
  // A thread of gRPC's may be asleep in its poller for 10 s, and gRPC's shutdown, which would come
  // with the channel's end, waits for it. Held, it does not shut down.
  grpc_init();
  ASSIGN_OR_RETURN(const auto channel, Connect(address, access, interrupts));
  auto target = std::make_unique<DecoderTarget>(channel, sessions, interrupts);
  RETURN_IF_ERROR(target->Ask());
  return target;
}

}  // namespace softsplice::bench
