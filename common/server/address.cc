#include "common/server/address.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/status/macros.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr int kSocketFlags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr char kUnix[] = "unix:";
// Others hold the folder for an instant only.
constexpr absl::Duration kFolderLimit = absl::Seconds(5);

absl::Status Unusable(const std::string& address, int error) {
  if (error == EADDRINUSE) {
    return absl::AlreadyExistsError(
        absl::StrCat("can't listen on ", address, ": the address is in use"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("can't listen on ", address, ": ", std::strerror(error)));
}

// The path of unix:PATH.
std::optional<std::string> UnixPath(absl::string_view address) {
  if (!absl::ConsumePrefix(&address, kUnix)) return std::nullopt;
  return std::string(address);
}

// Held from the look at a socket file to what is done about it: other servers look too.
absl::StatusOr<Fd> LockFolder(const std::string& address, const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  Fd fd(open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Unusable(address, errno);
  const absl::Duration end = SteadyNow() + kFolderLimit;
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK || SteadyNow() > end) return Unusable(address, errno);
    absl::SleepFor(absl::Milliseconds(10));
  }
  return fd;
}

absl::StatusOr<sockaddr_un> UnixName(const std::string& address, const std::string& path) {
  sockaddr_un name = {.sun_family = AF_UNIX};
  if (path.empty() || path.size() >= sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the path of ", address, " must have 1 to ",
                                                   sizeof(name.sun_path) - 1, " bytes"));
  }
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  return name;
}

// 0, or why not: ECONNREFUSED is a socket file whose server is gone, EAGAIN one that has more
// connections waiting than it takes.
int TryConnect(const sockaddr_un& name) {
  const Fd fd(socket(AF_UNIX, kSocketFlags, 0));
  const auto* generic = reinterpret_cast<const sockaddr*>(&name);
  return fd && connect(fd.get(), generic, sizeof(name)) == 0 ? 0 : errno;
}

absl::Status RemoveIfLeftBehind(const std::string& address, const sockaddr_un& name) {
  struct stat info = {};
  if (lstat(name.sun_path, &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't listen on ", address, ": the file exists and is no socket"));
  }
  const int error = TryConnect(name);
  if (error == 0 || error == EAGAIN) return Unusable(address, EADDRINUSE);
  if (error != ECONNREFUSED) return Unusable(address, error);
  return unlink(name.sun_path) == 0 ? absl::OkStatus() : Unusable(address, errno);
}

absl::StatusOr<ListeningSockets> ListenUnix(const std::string& address, const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un name, UnixName(address, path));
  ASSIGN_OR_RETURN(const Fd lock, LockFolder(address, path));
  RETURN_IF_ERROR(RemoveIfLeftBehind(address, name));
  Fd fd(socket(AF_UNIX, kSocketFlags, 0));
  const auto* generic = reinterpret_cast<const sockaddr*>(&name);
  if (!fd || bind(fd.get(), generic, sizeof(name)) != 0 || listen(fd.get(), SOMAXCONN) != 0) {
    return Unusable(address, errno);
  }
  ListeningSockets listening = {.address = address};
  listening.sockets.push_back(std::move(fd));
  return listening;
}

Reach ReachOf(const sockaddr* name) {
  if (name->sa_family == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(name)->sin6_addr;
    if (IN6_IS_ADDR_LOOPBACK(&address)) return Reach::kMachine;
    return IN6_IS_ADDR_UNSPECIFIED(&address) ? Reach::kEverywhere : Reach::kNetwork;
  }
  const uint32_t address = ntohl(reinterpret_cast<const sockaddr_in*>(name)->sin_addr.s_addr);
  if (address >> 24 == IN_LOOPBACKNET) return Reach::kMachine;
  return address == INADDR_ANY ? Reach::kEverywhere : Reach::kNetwork;
}

in_port_t& Port(sockaddr* name) {
  return name->sa_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(name)->sin6_port
                                     : reinterpret_cast<sockaddr_in*>(name)->sin_port;
}

// No descriptor: the machine does not have the family (IPv6 in many containers), or the host's name
// has an address that it does not.
absl::StatusOr<Fd> BindTcp(const std::string& address, const addrinfo& info) {
  Fd fd(socket(info.ai_family, kSocketFlags, 0));
  if (!fd) return errno == EAFNOSUPPORT ? absl::StatusOr<Fd>(Fd()) : Unusable(address, errno);
  const int on = 1;
  const int off = 0;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // connections inherit it
  // "[::]" is all interfaces of both families.
  if (info.ai_family == AF_INET6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  }
  if (bind(fd.get(), info.ai_addr, info.ai_addrlen) == 0 && listen(fd.get(), SOMAXCONN) == 0) {
    return fd;
  }
  if (errno == EADDRNOTAVAIL && info.ai_family == AF_INET6) return Fd();
  return Unusable(address, errno);
}

absl::StatusOr<ListeningSockets> ListenTcp(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  std::string host = address.substr(0, colon);
  int number = -1;
  if (host.empty() || !absl::SimpleAtoi(port, &number) || number < 0 || number > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address: give host:port or unix:PATH"));
  }
  ListeningSockets listening;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't listen on ", address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> free_found(found, freeaddrinfo);
  for (addrinfo* info = found; info != nullptr; info = info->ai_next) {
    Port(info->ai_addr) = htons(static_cast<in_port_t>(number));
    ASSIGN_OR_RETURN(Fd fd, BindTcp(address, *info));
    if (!fd) continue;
    listening.reach = std::max(listening.reach, ReachOf(info->ai_addr));
    sockaddr_storage name = {};
    socklen_t size = sizeof(name);
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size);
    number = ntohs(Port(reinterpret_cast<sockaddr*>(&name)));  // the same for all addresses
    listening.sockets.push_back(std::move(fd));
  }
  if (listening.sockets.empty()) return Unusable(address, EADDRNOTAVAIL);
  listening.address = absl::StrCat(address.substr(0, colon), ":", number);
  return listening;
}

}  // namespace

absl::StatusOr<ListeningSockets> Listen(const std::string& address) {
  if (const auto path = UnixPath(address)) return ListenUnix(address, *path);
  return ListenTcp(address);
}

void StopListening(ListeningSockets* listening) {
  listening->sockets.clear();
  const auto path = UnixPath(listening->address);
  if (!path) return;
  const auto name = UnixName(listening->address, *path);
  const auto lock = LockFolder(listening->address, *path);
  // Another server may listen there by now. One that can't be told from it leaves its file.
  if (name.ok() && lock.ok()) RemoveIfLeftBehind(listening->address, *name).IgnoreError();
}

absl::StatusOr<Reach> PrepareListenAddress(const std::string& address) {
  ASSIGN_OR_RETURN(ListeningSockets listening, Listen(address));
  StopListening(&listening);
  return listening.reach;
}

std::string OwnAddress(const std::string& address) {
  for (const auto& [all, own] :
       {std::pair("0.0.0.0:", "127.0.0.1:"), std::pair("[::]:", "[::1]:")}) {
    absl::string_view port = address;
    if (absl::ConsumePrefix(&port, all)) return absl::StrCat(own, port);
  }
  return address;
}

}  // namespace softsplice
