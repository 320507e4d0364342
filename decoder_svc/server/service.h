// softsplice.v1.DecoderService over an Engine and a pool of encoders.
#pragma once

#include "common/server/server.h"
#include "decoder_svc/server/context.h"

namespace google::protobuf {
class ServiceDescriptor;
}  // namespace google::protobuf

namespace softsplice {

const google::protobuf::ServiceDescriptor& DecoderServiceDescriptor();

// `context` outlives the service.
NamedService MakeDecoderService(const DecoderContext& context);

}  // namespace softsplice
