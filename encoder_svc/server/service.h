// softsplice.v1.EncoderService over an Encoder.
#pragma once

#include "common/log/log.h"
#include "common/server/server.h"
#include "encoder_svc/encoder.h"

namespace softsplice {

// `encoder` and `logger` must outlive the service. `options` are those that `encoder` was made
// with: what it tells of its limits.
NamedService MakeEncoderService(Encoder& encoder, const EncoderOptions& options,
                                const Logger& logger);

}  // namespace softsplice
