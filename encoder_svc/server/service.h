// softsplice.v1.EncoderService over an Encoder.
#pragma once

#include "common/server/calls.h"
#include "common/server/server.h"
#include "encoder_svc/encoder.h"
#include "kernels/device_watch.h"

namespace softsplice {

// What the handlers work with. All of it outlives the service.
struct EncoderContext {
  Encoder& encoder;
  EncoderOptions options;  // that it was made with: what the service tells of its limits
  const Calls& calls;
  const DeviceWatch* devices = nullptr;  // null: there is none to tell of
};

// `context` outlives the service.
NamedService MakeEncoderService(const EncoderContext& context);

}  // namespace softsplice
