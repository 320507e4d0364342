// What tests of a server in their own process share.
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "common/server/border.h"
#include "common/server/server.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace softsplice {

using HealthStatus = grpc::health::v1::HealthCheckResponse;

inline std::string SocketAddress(const std::string& name) {
  return "unix:" + testing::TempDir() + name + std::to_string(getpid());
}

// Whether `condition()` came true within a time that only a hang exceeds.
template <class Condition>
bool Eventually(Condition condition) {
  const absl::Duration end = SteadyNow() + absl::Seconds(30);
  while (!condition()) {
    if (SteadyNow() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// A server that has only health and reflection, and a client's channel to it.
class BareServer {
 public:
  explicit BareServer(ServerOptions options = {}, Gate* gate = nullptr)
      : border_(BorderOptions(), gate) {
    if (options.listen.empty()) options.listen = SocketAddress("bare");
    auto started = Server::Start(options, border_, {});
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = grpc::health::v1::Health::NewStub(channel_);
  }

  Server& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  grpc::health::v1::Health::Stub& stub() { return *stub_; }

  // What Check says of `name`; `error`: how it ended.
  HealthStatus::ServingStatus Check(const std::string& name, absl::Status* error = nullptr,
                                    grpc_compression_algorithm compression = GRPC_COMPRESS_NONE) {
    grpc::ClientContext context;
    context.set_compression_algorithm(compression);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    HealthStatus response;
    const grpc::Status status = stub_->Check(&context, request, &response);
    if (error != nullptr) *error = FromGrpcStatus(status);
    return response.status();
  }

 private:
  Border border_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<grpc::health::v1::Health::Stub> stub_;
};

}  // namespace softsplice
