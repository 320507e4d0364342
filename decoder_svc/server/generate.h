// The handler of Generate.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "decoder_svc/server/context.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Starts the call; the reactor owns all of its state and deletes itself. `request` lives as long as
// the call, `decoder` outlives it.
grpc::ServerWriteReactor<v1::GenerateResponse>* StartGenerate(grpc::CallbackServerContext* context,
                                                              const v1::GenerateRequest& request,
                                                              const DecoderContext& decoder);

}  // namespace softsplice
