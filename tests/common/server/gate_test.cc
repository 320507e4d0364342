#include "common/server/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/server/secure_channel.h"
#include "tests/common/server/client.h"

namespace softsplice {
namespace {

using testing::HasSubstr;
using testing::Not;

class GateTest : public testing::Test {
 protected:
  std::string Write(const char* name, const std::string& text) {
    const std::string path = absl::StrCat(testing::TempDir(), name, getpid());
    std::ofstream(path, std::ios::trunc) << text;
    return path;
  }
  // A server's certificate, and with it the authority of clients.
  TlsPaths Tls(bool clients) {
    return {.certificate = Write("cert", server_.certificate),
            .key = Write("key", server_.key),
            .ca = clients ? Write("ca", client_.certificate) : ""};
  }
  std::string Tokens() { return Write("tokens", absl::StrCat("me ", Sha256Hex("secret"), "\n")); }
  absl::StatusOr<std::unique_ptr<Gate>> Open(const GateOptions& options, Reach reach) {
    return Gate::Open(options, reach, metrics_, logger_);
  }
  // Whether a call of health over `channel` succeeds.
  bool Answers(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    HealthStatus response;
    return grpc::health::v1::Health::NewStub(channel)->Check(&context, {}, &response).ok();
  }
  bool Answers(const std::string& address, const KeyPair& client, const std::string& name) {
    const auto set = std::make_shared<TlsSet>(
        TlsSet{.certificate = client.certificate, .key = client.key, .ca = server_.certificate});
    return Answers(OpenSecureChannel(address, {.tls = set, .name = name}, {}));
  }

  const KeyPair server_ = MakeSelfSigned("server"), client_ = MakeSelfSigned("client");
  Metrics metrics_;
  const Logger logger_{LogFormat::kText, LogLevel::kError, -1};
};

TEST_F(GateTest, TokensDoNotTravelInPlainText) {
  const GateOptions tokens = {.tokens = Tokens()};
  EXPECT_TRUE(Open(tokens, Reach::kMachine).ok());
  for (const Reach reach : {Reach::kNetwork, Reach::kEverywhere}) {
    const absl::Status status = Open(tokens, reach).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr("tokens travel in plain text"));
    EXPECT_TRUE(Open({.tls = Tls(false), .tokens = Tokens()}, reach).ok());
    EXPECT_TRUE(Open({}, reach).ok());
  }
}

// The process finds its own way in, whatever clients have to show.
TEST_F(GateTest, LetsItselfIn) {
  for (const bool clients : {false, true}) {
    const auto gate = *Open({.tls = Tls(clients), .tokens = Tokens()}, Reach::kMachine);
    BareServer bare({}, gate.get());
    const std::string& address = bare.server().address();
    EXPECT_TRUE(Answers(grpc::CreateChannel(address, gate->own_credentials())));
    EXPECT_FALSE(Answers(bare.channel())) << "it is a plain one";
    EXPECT_TRUE(Answers(address, client_, "server"));
    EXPECT_FALSE(Answers(address, client_, "other"));
    EXPECT_EQ(Answers(address, {}, "server"), !clients);
    EXPECT_EQ(Answers(address, server_, "server"), !clients) << "of no authority of clients";
  }
}

TEST_F(GateTest, TakesNewCertificatesForNewConnections) {
  const auto gate = *Open({.tls = Tls(false)}, Reach::kMachine);
  BareServer bare({}, gate.get());
  const std::string& address = bare.server().address();
  EXPECT_TRUE(Answers(address, {}, "server"));
  const auto old_set = std::make_shared<TlsSet>(TlsSet{.ca = server_.certificate});
  const auto old = OpenSecureChannel(address, {.tls = old_set, .name = "server"}, {});
  EXPECT_TRUE(Answers(old));
  Write("cert", client_.certificate);  // whose key has not come yet
  for (int i = 0; i < 3; ++i) gate->Look();
  EXPECT_TRUE(Answers(address, {}, "server"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("reload_failures_total{end=\"server\"} 1\n"));
  Write("key", client_.key);
  for (int i = 0; i < 2; ++i) gate->Look();
  EXPECT_FALSE(Answers(address, {}, "server"));
  const auto new_set = std::make_shared<TlsSet>(TlsSet{.ca = client_.certificate});
  EXPECT_TRUE(Answers(OpenSecureChannel(address, {.tls = new_set, .name = "client"}, {})));
  EXPECT_TRUE(Answers(old)) << "a connection that is there stays";
}

TEST_F(GateTest, TellsWhenTheCertificateExpires) {
  const auto plain = *Open({}, Reach::kMachine);
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("expiry")));
  EXPECT_THAT(metrics_.Text(), HasSubstr("reload_failures_total{end=\"server\"} 0\n"));
  const auto gate = *Open({.tls = Tls(false)}, Reach::kMachine);
  EXPECT_THAT(metrics_.Text(),
              HasSubstr("softsplice_tls_certificate_expiry_timestamp_seconds{end=\"server\"} 2"));
}

TEST(StaysHere, KnowsThisMachine) {
  for (const char* here : {"unix:/a", "localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1"}) {
    EXPECT_TRUE(StaysHere(here)) << here;
  }
  for (const char* away :
       {"localhost.example:1", "10.0.0.1:1", "[::]:1", "example:1", "[::12]:1"}) {
    EXPECT_FALSE(StaysHere(away)) << away;
  }
}

}  // namespace
}  // namespace softsplice
