// The handler of CountTokens.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "decoder_svc/server/context.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Starts the call; the reactor owns all of its state and deletes itself. `request` and `response`
// live as long as the call, `decoder` outlives it.
grpc::ServerUnaryReactor* StartCountTokens(grpc::CallbackServerContext* context,
                                           const v1::CountTokensRequest& request,
                                           const DecoderContext& decoder,
                                           v1::CountTokensResponse* response);

}  // namespace softsplice
