// The one place where our errors become gRPC's and come back.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace softsplice {

// The same code and message, with google.rpc details: ErrorInfo (reason; domain "softsplice"),
// BadRequest (field) and RetryInfo (delay) as far as the status has them. A status without a
// reason gets its code's name as the reason. Over-long messages are cut: headers have a limit.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The same back, with the details that ToGrpcStatus knows.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace softsplice
