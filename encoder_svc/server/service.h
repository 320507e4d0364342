// softsplice.v1.EncoderService over an Encoder.
#pragma once

#include "common/server/server.h"
#include "encoder_svc/server/context.h"

namespace google::protobuf {
class ServiceDescriptor;
}  // namespace google::protobuf

namespace softsplice {

const google::protobuf::ServiceDescriptor& EncoderServiceDescriptor();

// `context` outlives the service.
NamedService MakeEncoderService(const EncoderContext& context);

}  // namespace softsplice
