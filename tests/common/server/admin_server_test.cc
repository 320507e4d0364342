#include "common/server/admin_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <list>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server/fd.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// A connection to a port of this machine.
class Client {
 public:
  explicit Client(const std::string& address)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name = {.sin_family = AF_INET};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string port = address.substr(address.rfind(':') + 1);
    name.sin_port = htons(static_cast<in_port_t>(std::stoi(port)));
    connected_ = connect(fd_.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0;
  }
  bool connected() const { return connected_; }
  void Send(const std::string& bytes) const {
    send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // All that comes until the server ends the connection.
  std::string ReadAll() const {
    std::string all;
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(fd_.get(), buffer, sizeof(buffer), 0)) > 0;)
      all.append(buffer, n);
    return all;
  }

 private:
  const Fd fd_;
  bool connected_ = false;
};

class AdminServerTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& address) {
    return AdminServer::Start(address, metrics_, phase_, logger_);
  }
  std::string Ask(const std::string& request) const {
    const Client client(server_->address());
    client.Send(request);
    return client.ReadAll();
  }
  std::string Get(const std::string& path) const {
    return Ask(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: me\r\n\r\n"));
  }

  const Logger logger_{LogFormat::kText, LogLevel::kError};
  Metrics metrics_;
  LivePhase phase_ = Phase::kLoading;
  std::unique_ptr<AdminServer> server_ = *Start("127.0.0.1:0");
};

TEST_F(AdminServerTest, AnswersProbesByPhase) {
  struct Case {
    Phase phase;
    const char *ready, *ready_word, *live, *live_word;
  };
  for (const Case& c : {Case{Phase::kLoading, "503", "loading", "200", "alive"},
                        Case{Phase::kReady, "200", "ready", "200", "alive"},
                        Case{Phase::kStalled, "503", "stalled", "503", "stalled"},
                        Case{Phase::kDraining, "503", "draining", "200", "alive"}}) {
    phase_ = c.phase;
    EXPECT_THAT(Get("/readyz"), StartsWith(absl::StrCat("HTTP/1.1 ", c.ready, " ")));
    EXPECT_THAT(Get("/readyz"), EndsWith(absl::StrCat("\r\n\r\n", c.ready_word, "\n")));
    EXPECT_THAT(Get("/livez"), StartsWith(absl::StrCat("HTTP/1.1 ", c.live, " ")));
    EXPECT_THAT(Get("/livez"), EndsWith(absl::StrCat("\r\n\r\n", c.live_word, "\n")));
  }
}

TEST_F(AdminServerTest, GivesTheMetrics) {
  metrics_.Add<prometheus::Counter>({"things_total", "Things"}).Increment();
  const std::string answer = Get("/metrics?x=1");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n" + metrics_.Text()));
}

TEST_F(AdminServerTest, HasNothingElse) {
  for (const char* path : {"/", "/metrics/", "/metricsx", "/../etc/passwd", "/%2e%2e/etc/passwd"}) {
    EXPECT_THAT(Get(path), StartsWith("HTTP/1.1 404 Not Found\r\n")) << path;
  }
  for (const char* method : {"POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}) {
    const std::string answer =
        Ask(absl::StrCat(method, " /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 Method Not Allowed\r\n")) << method;
    EXPECT_THAT(answer, HasSubstr("\r\nAllow: GET\r\n")) << method;
  }
}

TEST_F(AdminServerTest, RefusesWhatIsNoSmallRequest) {
  for (const std::string& request :
       {std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), std::string("\x16\x03\x01 hello\r\n\r\n"),
        absl::StrCat("GET /metrics HTTP/1.1\r\nX: ", std::string(1 << 16, 'x'), "\r\n\r\n")}) {
    EXPECT_THAT(Ask(request), testing::Not(HasSubstr(" 200 "))) << request.substr(0, 20);
  }
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

// Whoever sends nothing keeps others waiting for so long, and then is gone.
TEST_F(AdminServerTest, EndsConnectionsThatAskNothing) {
  std::list<Client> idle;
  for (int i = 0; i < 20; ++i) idle.emplace_back(server_->address());
  for (const Client& client : idle) client.Send("GET /livez HTTP/1.1\r\n");
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
  for (const Client& client : idle) client.ReadAll();
}

TEST_F(AdminServerTest, EndsWhileSomebodyIsConnected) {
  const Client client(server_->address());
  client.Send("GET ");
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));  // the one before has its thread by now
  const absl::Duration start = SteadyNow();
  server_.reset();
  EXPECT_LT(SteadyNow() - start, absl::Seconds(60));
  EXPECT_EQ(client.ReadAll(), "");
}

TEST_F(AdminServerTest, SaysWhyItCanNotListen) {
  const absl::Status taken = Start(server_->address()).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists) << taken;
  EXPECT_THAT(taken.message(), HasSubstr(server_->address() + ": the address is in use"));
  for (const char* address : {"unix:/tmp/x", "9000", "localhost:http", "localhost:9000s"}) {
    EXPECT_EQ(Start(address).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
  EXPECT_EQ(Start("no-such-host.invalid:0").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*Start(""), nullptr);
}

TEST_F(AdminServerTest, ListensOnAllAddressesOfAName) {
  for (const char* address : {"localhost:0", "0.0.0.0:0", "[::]:0"}) {
    const auto server = Start(address);
    if (!server.ok()) continue;  // no IPv6 here
    const Client client((*server)->address());
    ASSERT_TRUE(client.connected()) << address;
    client.Send("GET /livez HTTP/1.0\r\n\r\n");
    EXPECT_THAT(client.ReadAll(), EndsWith("alive\n")) << address;
  }
}

}  // namespace
}  // namespace softsplice
