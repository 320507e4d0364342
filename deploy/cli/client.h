// How the command line reaches the services: addresses, connections, and what it says when a call
// fails.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "deploy/cli/access.h"
#include "deploy/cli/signals.h"

namespace softsplice {

// The program's exit codes, as --help lists them.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitInterrupted = 130,
};

constexpr absl::Duration kConnectLimit = absl::Seconds(5);

// The folder of this user's sockets and logs, made if need be with access for the user only:
// $XDG_RUNTIME_DIR/softsplice or /tmp/softsplice-UID. FAILED_PRECONDITION: it belongs to another.
absl::StatusOr<std::string> RuntimeDirectory();

// Where `softsplice up` listens unless told otherwise.
std::string DecoderSocket();
std::string EncoderSocket();

// $SOFTSPLICE_SERVER, or the socket of `softsplice up` if there is one, or localhost:50052.
std::string DefaultDecoderAddress();
// $SOFTSPLICE_ENCODER, or the socket of `softsplice up` if there is one, or localhost:50051.
std::string DefaultEncoderAddress();

// OpenChannel, connected. UNAVAILABLE: nothing listens there, or no answer within `limit`;
// CANCELLED: a signal came.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address,
                                                       const Access& access, Interrupts& interrupts,
                                                       absl::Duration limit = kConnectLimit);

// Whether gRPC's health service calls the whole server at the other end of `channel` healthy.
enum class Health { kServing, kNotServing, kUnreachable };
Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel, absl::Duration limit);

void SetDeadline(grpc::ClientContext& context, absl::Duration limit);

// What came with a failed call: see the errors in the README.
struct Failure {
  std::string code;
  std::string message;
  std::string reason;
  std::string field;
  double retry_seconds = 0;  // 0: waiting does not help
};
Failure ReadFailure(const grpc::Status& status);

// Tells on stderr what failed, where and what to do; with `json` an {"error": …} line on stdout.
// Returns the exit code.
int ReportCallFailure(const grpc::Status& status, bool json);
// The same for what failed before a call: UNAVAILABLE is kExitUnreachable.
int ReportFailure(const absl::Status& status, bool json);

}  // namespace softsplice
