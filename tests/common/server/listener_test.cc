#include "common/server/listener.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <list>
#include <mutex>

#include "tests/common/server/client.h"

namespace softsplice {
namespace {

// A socket that may connect.
class Client {
 public:
  Client() : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  void Connect(const std::string& address) {
    sockaddr_un name = {.sun_family = AF_UNIX};
    std::strcpy(name.sun_path, address.substr(5).c_str());
    ASSERT_EQ(connect(fd_.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  }
  // Waits until the server ends the connection.
  bool IsClosed() {
    char byte;
    return read(fd_.get(), &byte, 1) == 0;
  }
  bool Sends(char byte) { return write(fd_.get(), &byte, 1) == 1; }

 private:
  Fd fd_;
};

// A server that keeps its connections.
class Keeper {
 public:
  explicit Keeper(size_t most)
      : listener_(*Listen(SocketAddress("keeper")), most, [this](int /*socket*/, int connection) {
          const std::lock_guard lock(mutex_);
          kept_.emplace_back(connection);
        }) {}
  ~Keeper() { listener_.Stop(); }

  Listener& listener() { return listener_; }
  const std::string& address() const { return listener_.address(); }
  bool Has(size_t count) {
    return Eventually([&] {
      const std::lock_guard lock(mutex_);
      return kept_.size() == count;
    });
  }
  void CloseOldest() {
    const std::lock_guard lock(mutex_);
    kept_.pop_front();
  }

 private:
  std::mutex mutex_;
  std::list<Fd> kept_;
  Listener listener_;
};

TEST(Listener, ClosesWhatIsOverItsLimitAtOnce) {
  Keeper keeper(2);
  Client clients[4];
  clients[0].Connect(keeper.address());
  clients[1].Connect(keeper.address());
  clients[2].Connect(keeper.address());
  EXPECT_TRUE(clients[2].IsClosed());
  ASSERT_TRUE(keeper.Has(2));
  EXPECT_EQ(keeper.listener().CountOpen(), 2u);
  EXPECT_EQ(keeper.listener().refused(), 1u);
  // It sees by itself that one was closed.
  keeper.CloseOldest();
  EXPECT_EQ(keeper.listener().CountOpen(), 1u);
  clients[3].Connect(keeper.address());
  EXPECT_TRUE(keeper.Has(2));
}

TEST(Listener, EndsConnectionsThatOthersHold) {
  Keeper keeper(10);
  Client client;
  client.Connect(keeper.address());
  ASSERT_TRUE(keeper.Has(1));
  keeper.listener().CloseConnections();
  EXPECT_TRUE(client.IsClosed());
}

TEST(Listener, SaysThatNothingMoreWillComeAndHearsOn) {
  Keeper keeper(10);
  Client client;
  client.Connect(keeper.address());
  ASSERT_TRUE(keeper.Has(1));
  keeper.listener().EndAnswers();
  EXPECT_TRUE(client.IsClosed());
  EXPECT_EQ(keeper.listener().CountOpen(), 1u);
  EXPECT_TRUE(client.Sends('x'));
}

TEST(Listener, HearsAgainAfterDescriptorsRanOut) {
  Keeper keeper(1000);
  Client clients[50];
  Client later;
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit few = {.rlim_cur = 200, .rlim_max = limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  std::list<Fd> all;
  do {
    all.emplace_back(dup(0));
  } while (all.back());
  for (Client& client : clients) {
    client.Connect(keeper.address());
    EXPECT_TRUE(client.IsClosed());
  }
  setrlimit(RLIMIT_NOFILE, &limit);
  later.Connect(keeper.address());
  EXPECT_TRUE(keeper.Has(1));
  EXPECT_EQ(keeper.listener().refused(), 50u);
}

}  // namespace
}  // namespace softsplice
