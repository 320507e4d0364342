#include "common/server/address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace softsplice {
namespace {

absl::Status Unusable(const std::string& address, int error) {
  if (error == EADDRINUSE) {
    return absl::AlreadyExistsError(
        absl::StrCat("can't listen on ", address, ": the address is in use"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("can't listen on ", address, ": ", std::strerror(error)));
}

absl::Status PrepareUnix(const std::string& address, const std::string& path) {
  sockaddr_un name = {.sun_family = AF_UNIX};
  if (path.empty() || path.size() >= sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the path of ", address, " must have 1 to ",
                                                   sizeof(name.sun_path) - 1, " bytes"));
  }
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const auto* socket_name = reinterpret_cast<const sockaddr*>(&name);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Unusable(address, errno);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  struct stat info = {};
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return absl::FailedPreconditionError(
          absl::StrCat("can't listen on ", address, ": the file exists and is no socket"));
    }
    if (connect(fd, socket_name, sizeof(name)) == 0) return Unusable(address, EADDRINUSE);
    if (errno != ECONNREFUSED) return Unusable(address, errno);
    if (unlink(path.c_str()) != 0) return Unusable(address, errno);
  }
  if (bind(fd, socket_name, sizeof(name)) != 0) return Unusable(address, errno);
  return unlink(path.c_str()) == 0 ? absl::OkStatus() : Unusable(address, errno);
}

absl::Status TryBind(const std::string& address, const addrinfo& info) {
  const int fd = socket(info.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // A family that the machine does not have (IPv6 in many containers) is not used by gRPC either.
  if (fd < 0) return errno == EAFNOSUPPORT ? absl::OkStatus() : Unusable(address, errno);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, info.ai_addr, info.ai_addrlen) == 0) return absl::OkStatus();
  return errno == EADDRNOTAVAIL && info.ai_family == AF_INET6 ? absl::OkStatus()
                                                              : Unusable(address, errno);
}

absl::Status PrepareTcp(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  std::string host = address.substr(0, colon);
  int number = -1;
  if (host.empty() || !absl::SimpleAtoi(port, &number) || number < 0 || number > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address: give host:port or unix:PATH"));
  }
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
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    if (const absl::Status status = TryBind(address, *info); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PrepareListenAddress(const std::string& address) {
  absl::string_view path = address;
  if (absl::ConsumePrefix(&path, "unix:")) return PrepareUnix(address, std::string(path));
  return PrepareTcp(address);
}

}  // namespace softsplice
