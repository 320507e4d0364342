#include "common/server/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

// At the limit each connection that comes asks how many are still open.
constexpr absl::Duration kLookInterval = absl::Milliseconds(50);

// 0: `fd` is no socket, or closed.
ino_t InodeOf(int fd) {
  struct stat info = {};
  return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

Fd Spare() { return Fd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

Listener::Listener(ListeningSockets listening, size_t max_connections, Take take)
    : listening_(std::move(listening)),
      max_connections_(max_connections),
      take_(std::move(take)),
      stop_(eventfd(0, EFD_CLOEXEC)),
      spare_(Spare()),
      thread_([this] { Run(); }) {}

Listener::~Listener() { Stop(); }

void Listener::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof(one));
  thread_.join();
  StopListening(&listening_);
}

void Listener::Run() {
  std::vector<pollfd> events = {{.fd = stop_.get(), .events = POLLIN}};
  for (const Fd& socket : listening_.sockets) {
    events.push_back({.fd = socket.get(), .events = POLLIN});
  }
  while (true) {
    poll(events.data(), events.size(), -1);
    if (events[0].revents != 0) return;
    for (size_t i = 1; i < events.size(); ++i) {
      if (events[i].revents != 0) TakeFrom(events[i].fd);
    }
  }
}

void Listener::TakeFrom(int socket) {
  const int connection = accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (connection >= 0) return Add(socket, connection);
  // Anything else is a client that went away meanwhile.
  if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
    RefuseWithoutDescriptor(socket);
  }
}

void Listener::Add(int socket, int connection) {
  {
    const std::lock_guard lock(mutex_);
    if (open_.size() >= max_connections_ && SteadyNow() - looked_ > kLookInterval) ForgetClosed();
    if (open_.size() >= max_connections_) {
      close(connection);
      ++refused_;
      return;
    }
    open_[connection] = InodeOf(connection);
  }
  take_(socket, connection);
}

void Listener::RefuseWithoutDescriptor(int socket) {
  spare_.Close();
  const int connection = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC);
  if (connection >= 0) {
    close(connection);
    const std::lock_guard lock(mutex_);
    ++refused_;
  } else {
    absl::SleepFor(absl::Milliseconds(10));  // the socket stays readable: not in a circle
  }
  spare_ = Spare();
}

void Listener::ForgetClosed() {
  std::erase_if(open_, [](const auto& entry) { return InodeOf(entry.first) != entry.second; });
  looked_ = SteadyNow();
}

size_t Listener::CountOpen() {
  const std::lock_guard lock(mutex_);
  ForgetClosed();
  return open_.size();
}

uint64_t Listener::refused() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

void Listener::StopReading() {
  const int all = std::numeric_limits<int>::max();
  ForEachOpen([&](int fd) { setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &all, sizeof(all)); });
}

void Listener::EndAnswers() {
  ForEachOpen([](int fd) { shutdown(fd, SHUT_WR); });
}

void Listener::CloseConnections() {
  ForEachOpen([](int fd) { shutdown(fd, SHUT_RDWR); });
}

template <class Visit>
void Listener::ForEachOpen(Visit visit) {
  const std::lock_guard lock(mutex_);
  for (const auto& [fd, inode] : open_) {
    // The descriptor may be closed, and another's, at any moment; a copy of it can't.
    const Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (copy && InodeOf(copy.get()) == inode) visit(copy.get());
  }
}

}  // namespace softsplice
