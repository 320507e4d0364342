#include "common/server/server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/address.h"
#include "common/server/reflection.h"
#include "common/server/signals.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

// Finds connections whose other end is gone without a word; clients may ping as often as that.
constexpr int kKeepaliveMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMinClientPingMs = 10'000;

void AddArguments(const ServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_request_bytes);
  builder->SetMaxSendMessageSize(-1);
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinClientPingMs);
  if (options.max_connection_age > absl::ZeroDuration()) {
    builder->AddChannelArgument(
        GRPC_ARG_MAX_CONNECTION_AGE_MS,
        static_cast<int>(absl::ToInt64Milliseconds(options.max_connection_age)));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      std::vector<NamedService> services) {
  RETURN_IF_ERROR(PrepareListenAddress(options.listen));
  std::unique_ptr<Server> server(new Server);
  std::vector<std::string> names;
  for (const NamedService& service : services) names.push_back(service.name);
  server->services_ = std::move(services);
  server->reflection_ = MakeReflectionServices(std::move(names));

  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  AddArguments(options, &builder);
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  for (const NamedService& service : server->services_) {
    builder.RegisterService(service.service.get());
  }
  for (const auto& service : server->reflection_) builder.RegisterService(service.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("can't listen on ", options.listen));
  }
  const bool is_unix = absl::StartsWith(options.listen, "unix:");
  server->address_ =
      is_unix ? options.listen
              : absl::StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", port);
  server->SetServing(true);
  return server;
}

Server::~Server() { Shutdown(absl::Now()); }

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface& health = *server_->GetHealthCheckService();
  health.SetServingStatus("", serving);
  for (const NamedService& service : services_) health.SetServingStatus(service.name, serving);
}

void Server::Shutdown(absl::Time deadline) {
  if (server_ == nullptr) return;
  SetServing(false);
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
  server_.reset();
}

void ServeUntilStopped(Server& server, StopSignal& stop, const ServerOptions& options,
                       const Logger& logger, const std::function<bool()>& healthy) {
  logger.Log(LogLevel::kInfo, "serving", {{"address", server.address()}});
  stop.Arm();
  bool serving = true;
  while (!stop.Wait(absl::Seconds(1))) {
    if (healthy() == serving) continue;
    serving = !serving;
    server.SetServing(serving);
    logger.Log(serving ? LogLevel::kInfo : LogLevel::kError,
               serving ? "makes progress again" : "makes no progress");
  }
  logger.Log(LogLevel::kInfo, "draining", {DurationField("limit", options.drain)});
  server.Shutdown(absl::Now() + options.drain);
  logger.Log(LogLevel::kInfo, "stopped");
}

}  // namespace softsplice
