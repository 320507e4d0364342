// The handler of EncodeAudio.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "common/log/log.h"
#include "encoder_svc/encoder.h"
#include "softsplice/v1/encoder.pb.h"

namespace softsplice {

// As StartEncodeImage.
grpc::ServerWriteReactor<v1::EncodeAudioResponse>* StartEncodeAudio(
    grpc::CallbackServerContext* context, const v1::EncodeAudioRequest& request, Encoder& encoder,
    const Logger& logger);

}  // namespace softsplice
