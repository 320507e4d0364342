// softsplice.v1.EncoderService over an Encoder.
#pragma once

#include "common/server/calls.h"
#include "common/server/server.h"
#include "encoder_svc/encoder.h"

namespace softsplice {

// What the handlers work with. All of it outlives the service.
struct EncoderContext {
  Encoder& encoder;
  EncoderOptions options;  // that it was made with: what the service tells of its limits
  const Calls& calls;
};

// `context` outlives the service.
NamedService MakeEncoderService(const EncoderContext& context);

}  // namespace softsplice
