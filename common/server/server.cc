#include "common/server/server.h"

#include <grpc/grpc.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/gate.h"
#include "common/server/reflection.h"
#include "common/status/macros.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

using AcceptorType = grpc::ServerBuilder::experimental_type::ExternalConnectionType;

// Finds connections whose other end is gone without a word; clients may ping as often as that.
constexpr int kKeepaliveMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMinClientPingMs = 10'000;
// Of a connection: to say that it speaks HTTP/2; from its age on, for calls to end.
constexpr int kHandshakeMs = 20'000;
constexpr int kAgeGraceMs = 3'600'000;
// Of one connection, at least; else half of all calls that may be live, so that none fills them.
constexpr int kMinStreams = 100;

// How long calls that run may keep clients from being let go before gRPC is shut down. A call that
// reaches gRPC between its shutdown and the client's notice of it ends CANCELLED, which nobody
// repeats; clients that are gone by then make none.
constexpr absl::Duration kQuiet = absl::Seconds(1);
// What ended calls get to tell their clients, and clients to go by themselves.
constexpr absl::Duration kLastMessages = absl::Seconds(2);
constexpr absl::Duration kGoodbye = absl::Milliseconds(500);
// For gRPC to answer what it read at the very last.
constexpr absl::Duration kLastRead = absl::Milliseconds(20);

void AddArguments(const ServerOptions& options, const Border& border,
                  grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(-1);  // calls look themselves
  builder->SetMaxSendMessageSize(-1);
  // A compressed message is handed over as it came, and refused: inflated, it could be any size.
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // The backstop: what gRPC itself holds, above all of messages that are not complete. Over it,
  // calls and idle connections are ended.
  grpc::ResourceQuota quota("softsplice");
  builder->SetResourceQuota(quota.Resize(border.options().max_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              std::max(kMinStreams, border.options().max_calls / 2));
  // Windows stay small but for a message that is being read.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinClientPingMs);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder->AddChannelArgument(
      GRPC_ARG_MAX_CONNECTION_IDLE_MS,
      static_cast<int>(absl::ToInt64Milliseconds(options.max_connection_idle)));
  // On a unix socket there is no other replica to go to.
  if (options.max_connection_age > absl::ZeroDuration() &&
      !absl::StartsWith(options.listen, "unix:")) {
    builder->AddChannelArgument(
        GRPC_ARG_MAX_CONNECTION_AGE_MS,
        static_cast<int>(absl::ToInt64Milliseconds(options.max_connection_age)));
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kAgeGraceMs);
  }
}

// Raises the process's limit of descriptors as far as it may; what is left for connections.
size_t ConnectionsPossible() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return std::max<size_t>(limit.rlim_cur, kOtherDescriptors + 1) - kOtherDescriptors;
}

std::vector<std::string> NamesOf(const std::vector<NamedService>& services) {
  std::vector<std::string> names;
  for (const NamedService& service : services) names.push_back(service.name);
  return names;
}

std::shared_ptr<grpc::ServerCredentials> Credentials(Gate* gate) {
  return gate == nullptr ? grpc::InsecureServerCredentials() : gate->server_credentials();
}

}  // namespace

Server::Server(Border& border, std::vector<NamedService> services)
    : border_(border), services_(std::move(services)), health_(NamesOf(services_)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Border& border,
                                                      std::vector<NamedService> services) {
  grpc_init();  // without its end, which now and then waits 10 s for a thread of its own
  ASSIGN_OR_RETURN(ListeningSockets listening, Listen(options.listen));
  std::unique_ptr<Server> server(new Server(border, std::move(services)));
  server->address_ = listening.address;
  if (options.reflection) {
    server->reflection_ = MakeReflectionServices(NamesOf(server->services_), border);
  }

  grpc::ServerBuilder builder;
  AddArguments(options, border, &builder);
  server->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      AcceptorType::FROM_FD, Credentials(border.gate()));
  builder.RegisterService(&server->health_.service());
  for (const NamedService& service : server->services_) {
    builder.RegisterService(service.service.get());
  }
  for (const auto& service : server->reflection_) builder.RegisterService(service.get());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) {
    StopListening(&listening);
    return absl::FailedPreconditionError(absl::StrCat("can't serve on ", options.listen));
  }
  server->health_.SetServing(true);
  server->listener_ = std::make_unique<Listener>(
      std::move(listening), std::min<size_t>(options.max_connections, ConnectionsPossible()),
      [acceptor = server->acceptor_.get()](int socket, int connection) {
        grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
        parameters.listener_fd = socket;
        parameters.fd = connection;
        acceptor->HandleNewConnection(&parameters);
      });
  return server;
}

Server::~Server() {
  if (server_ == nullptr) return;  // it did not start
  Retire();
  Close();
  border_.EndAll();
  Shutdown();
}

void Server::Drain(absl::Duration limit) {
  Retire();
  border_.Drain();
  if (border_.WaitIdle(std::min(limit, kQuiet))) ReleaseClients();
  Close();
  if (border_.WaitIdle(limit)) return;
  border_.EndAll();
  border_.WaitIdle(kLastMessages);
}

void Server::Retire() {
  listener_->Stop();
  health_.SetServing(false);
  health_.EndWatches(kGoodbye);
}

void Server::ReleaseClients() {
  // gRPC would answer what still comes, could not, and would close the connection: a client that
  // writes then loses the answers that it has not read yet.
  listener_->StopReading();
  absl::SleepFor(kLastRead);
  listener_->EndAnswers();
  const absl::Duration end = SteadyNow() + kGoodbye;
  while (listener_->CountOpen() > 0 && SteadyNow() < end) absl::SleepFor(absl::Milliseconds(5));
}

void Server::Close() {
  if (closing_.joinable()) return;
  closing_ = std::thread([this] {
    server_->Shutdown();
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  });
}

void Server::Shutdown() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoMilliseconds(kGoodbye), [this] { return closed_; });
    // More than once: gRPC may have been about to take one.
    while (!closed_) {
      listener_->CloseConnections();
      changed_.wait_for(lock, absl::ToChronoMilliseconds(kGoodbye), [this] { return closed_; });
    }
  }
  closing_.join();
}

}  // namespace softsplice
