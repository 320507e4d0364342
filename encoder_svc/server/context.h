// What the encoder's handlers work with.
#pragma once

#include "common/server/calls.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/server/metrics.h"

namespace softsplice {

// All of it outlives the service.
struct EncoderContext {
  Encoder& encoder;
  EncoderOptions options;  // that it was made with: what the service tells of its limits
  const Calls& calls;
  const EncoderMetrics& metrics;
};

}  // namespace softsplice
