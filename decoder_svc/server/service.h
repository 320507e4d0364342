// softsplice.v1.DecoderService over an Engine and a pool of encoders.
#pragma once

#include "common/server/server.h"
#include "decoder_svc/server/context.h"

namespace softsplice {

// `context` outlives the service.
NamedService MakeDecoderService(const DecoderContext& context);

}  // namespace softsplice
