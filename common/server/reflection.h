// gRPC server reflection, v1 and v1alpha: what lets grpcurl and the like list, describe and call
// everything.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>
#include <string>
#include <vector>

#include "common/server/border.h"

namespace softsplice {

// One service per version of the protocol. `services` are the full names to list besides those of
// reflection and health; their descriptors come from the generated pool. `border` outlives them.
std::vector<std::unique_ptr<grpc::Service>> MakeReflectionServices(
    std::vector<std::string> services, Border& border);

}  // namespace softsplice
