// The handler of EncodeImage.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "common/log/log.h"
#include "encoder_svc/encoder.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// Starts the call; the reactor owns all of its state and deletes itself. `request` lives as long as
// the call; `encoder` and `logger` outlive it.
grpc::ServerWriteReactor<v1::EncodeImageResponse>* StartEncodeImage(
    grpc::CallbackServerContext* context, const v1::EncodeImageRequest& request, Encoder& encoder,
    const Logger& logger);

}  // namespace softsplice
