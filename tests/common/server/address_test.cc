#include "common/server/address.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace softsplice {
namespace {

using testing::HasSubstr;

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM, 0)) {}
  ~Socket() { close(fd_); }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

std::string TestPath(const char* name) {
  return testing::TempDir() + name + std::to_string(getpid());
}

void Bind(const Socket& listener, const std::string& path) {
  sockaddr_un address = {.sun_family = AF_UNIX};
  std::strcpy(address.sun_path, path.c_str());
  ASSERT_EQ(bind(listener.fd(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.fd(), 1), 0);
}

TEST(ListenAddress, RefusesNonsense) {
  for (const char* address : {"", "localhost", "localhost:", ":50051", "localhost:http",
                              "localhost:65536", "localhost:-1", "unix:"}) {
    EXPECT_EQ(PrepareListenAddress(address).status().code(), absl::StatusCode::kInvalidArgument)
        << address;
  }
  EXPECT_FALSE(PrepareListenAddress("no.such.host.invalid:1").ok());
}

TEST(ListenAddress, TakesFreeOnes) {
  EXPECT_TRUE(PrepareListenAddress("127.0.0.1:0").ok());
  EXPECT_TRUE(PrepareListenAddress("localhost:0").ok());
  EXPECT_TRUE(PrepareListenAddress("0.0.0.0:0").ok());
  EXPECT_TRUE(PrepareListenAddress("[::]:0").ok());
  EXPECT_TRUE(PrepareListenAddress("unix:" + TestPath("free")).ok());
}

TEST(ListenAddress, TellsThatAPortIsTaken) {
  const Socket listener(AF_INET);
  sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.fd(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.fd(), 1), 0);
  socklen_t size = sizeof(address);
  getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  const std::string port = std::to_string(ntohs(address.sin_port));
  for (const char* host : {"127.0.0.1:", "localhost:", "0.0.0.0:"}) {
    const absl::Status status = PrepareListenAddress(host + port).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << host;
    EXPECT_THAT(std::string(status.message()), HasSubstr(host + port + ": the address is in use"));
  }
}

TEST(ListenAddress, RemovesOnlyTheSocketOfAServerThatIsGone) {
  const std::string path = TestPath("socket");
  {
    const Socket listener(AF_UNIX);
    Bind(listener, path);
    EXPECT_EQ(PrepareListenAddress("unix:" + path).status().code(),
              absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
  }
  EXPECT_TRUE(PrepareListenAddress("unix:" + path).ok());
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST(ListenAddress, IsOneServersThoughManyTryAtOnce) {
  const std::string address = "unix:" + TestPath("contended");
  for (int round = 0; round < 30; ++round) {
    { const auto left_behind = Listen(address); }
    std::mutex mutex;
    std::vector<ListeningSockets> kept;
    std::vector<std::thread> servers;
    for (int i = 0; i < 4; ++i) {
      servers.emplace_back([&] {
        auto sockets = Listen(address);
        const std::lock_guard lock(mutex);
        if (sockets.ok()) kept.push_back(*std::move(sockets));
      });
    }
    for (std::thread& server : servers) server.join();
    ASSERT_EQ(kept.size(), 1u);
    EXPECT_EQ(PrepareListenAddress(address).status().code(), absl::StatusCode::kAlreadyExists);
  }
}

TEST(ListenAddress, OfAnotherServerIsNotRemoved) {
  const std::string address = "unix:" + TestPath("successor");
  auto first = *Listen(address);
  first.sockets.clear();
  const auto second = Listen(address);
  ASSERT_TRUE(second.ok());
  StopListening(&first);
  EXPECT_EQ(PrepareListenAddress(address).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(ListenAddress, HasTheSamePortForAllItsAddresses) {
  const auto listening = Listen("localhost:0");
  ASSERT_TRUE(listening.ok());
  EXPECT_EQ(PrepareListenAddress(listening->address).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(OwnAddress("0.0.0.0:5"), "127.0.0.1:5");
  EXPECT_EQ(OwnAddress("[::]:5"), "[::1]:5");
  EXPECT_EQ(OwnAddress("localhost:5"), "localhost:5");
}

TEST(ListenAddress, LeavesOtherFilesAlone) {
  const std::string path = TestPath("file");
  std::ofstream(path) << "precious";
  const absl::Status status = PrepareListenAddress("unix:" + path).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("is no socket"));
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  unlink(path.c_str());
  EXPECT_FALSE(PrepareListenAddress("unix:/" + std::string(200, 'x')).ok());
  EXPECT_THAT(std::string(PrepareListenAddress("unix:/no/such/folder/s").status().message()),
              HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace softsplice
