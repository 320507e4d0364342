// What the encoder's handlers work with.
#pragma once

#include "common/server/calls.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/server/metrics.h"
#include "kernels/device_watch.h"

namespace softsplice {

// All of it outlives the service.
struct EncoderContext {
  Encoder& encoder;
  EncoderOptions options;  // that it was made with: what the service tells of its limits
  const Calls& calls;
  const EncoderMetrics& metrics;
  const DeviceWatch* devices = nullptr;  // null: there is none to tell of
};

}  // namespace softsplice
