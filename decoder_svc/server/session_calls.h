// The methods CreateSession, ForkSession and DeleteSession.
#pragma once

#include <utility>

#include "common/server/stream_call.h"
#include "decoder_svc/server/context.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// A method that does something to the sessions and answers at once. `decoder` outlives the call.
template <class Request, class Response>
class SessionCall final : public AnswerCall<Request, Response> {
 public:
  SessionCall(Call call, const Calls& calls, const DecoderContext& decoder)
      : AnswerCall<Request, Response>(std::move(call), calls, CallWeight::kLight),
        sessions_(decoder.sessions) {}

 private:
  void Begin(const Request& request) override;

  Sessions& sessions_;
};

using CreateSessionCall = SessionCall<v1::CreateSessionRequest, v1::CreateSessionResponse>;
using ForkSessionCall = SessionCall<v1::ForkSessionRequest, v1::ForkSessionResponse>;
using DeleteSessionCall = SessionCall<v1::DeleteSessionRequest, v1::DeleteSessionResponse>;

template <>
void CreateSessionCall::Begin(const v1::CreateSessionRequest& request);
template <>
void ForkSessionCall::Begin(const v1::ForkSessionRequest& request);
template <>
void DeleteSessionCall::Begin(const v1::DeleteSessionRequest& request);

}  // namespace softsplice
