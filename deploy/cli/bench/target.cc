#include "deploy/cli/bench/target.h"

#include "absl/time/time.h"
#include "deploy/cli/bench/synthetic.h"
#include "deploy/cli/client.h"

namespace softsplice::bench {
namespace {

using Stub = v1::DecoderService::Stub;

constexpr absl::Duration kLimit = absl::Seconds(30);

class Asker {
 public:
  Asker(Stub& stub, Interrupts& interrupts) : stub_(stub), interrupts_(interrupts) {}

  template <class Request, class Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    SetDeadline(context, kLimit);
    interrupts_.OnRaise([&] { context.TryCancel(); });
    if (interrupts_.raised()) context.TryCancel();
    const grpc::Status status = (stub_.*method)(&context, request, &response);
    interrupts_.OnRaise({});
    return status;
  }

  grpc::Status FindStopTokens(Target& target) {
    for (const char* name : {"<eos>", "<turn|>", "<|tool_response>"}) {
      v1::CountTokensRequest request;
      request.mutable_raw()->set_no_bos(true);
      request.mutable_raw()->add_parts()->set_text_with_special_tokens(name);
      request.set_include_token_ids(true);
      v1::CountTokensResponse response;
      const grpc::Status status = Call(&Stub::CountTokens, request, response);
      if (!status.ok()) return status;
      // Several ids: the vocabulary has no such token.
      if (response.token_ids_size() == 1) target.stop_tokens.push_back(response.token_ids(0));
    }
    return grpc::Status::OK;
  }

  grpc::Status CountWords(Target& target) {
    constexpr int kWords = 1000;
    Random random;
    v1::CountTokensRequest request;
    request.mutable_raw()->set_no_bos(true);
    request.mutable_raw()->add_parts()->set_text(RandomWords(random, kWords));
    v1::CountTokensResponse response;
    const grpc::Status status = Call(&Stub::CountTokens, request, response);
    if (status.ok()) target.tokens_per_word = static_cast<double>(response.tokens()) / kWords;
    return status;
  }

 private:
  Stub& stub_;
  Interrupts& interrupts_;
};

}  // namespace

grpc::Status Ask(Stub& stub, Interrupts& interrupts, Target& target) {
  Asker asker(stub, interrupts);
  grpc::Status status = asker.Call(&Stub::GetDecoderInfo, v1::GetDecoderInfoRequest(), target.info);
  if (status.ok()) status = asker.FindStopTokens(target);
  if (status.ok()) status = asker.CountWords(target);
  return status;
}

}  // namespace softsplice::bench
