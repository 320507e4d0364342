#include "decoder_svc/encoder_pool/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(5);
constexpr absl::Duration kAtMost = absl::Seconds(1);
// Of one question, all servers and repetitions together.
constexpr absl::Duration kPatience = absl::Seconds(4);
constexpr int kServerMs = 700;
constexpr int kRepetitions = 2;
// How long a stop may go unnoticed.
constexpr int kPollMs = 50;

struct Answer {
  int status = ARES_SUCCESS;
  std::vector<std::string> hosts;
};

std::string HostText(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text,
              sizeof(text));
    return text;
  }
  inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
            sizeof(text));
  return absl::StrCat("[", text, "]");
}

void OnAnswered(void* out, int status, int /*timeouts*/, ares_addrinfo* info) {
  auto& answer = static_cast<std::optional<Answer>*>(out)->emplace(Answer{.status = status});
  if (info == nullptr) return;
  for (const ares_addrinfo_node* node = info->nodes; node != nullptr; node = node->ai_next) {
    answer.hosts.push_back(HostText(node->ai_addr));
  }
  ares_freeaddrinfo(info);
}

// Moves the question on by what has arrived on its sockets, after a short wait at most.
void Move(ares_channel channel) {
  ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
  const int wanted = ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
  std::vector<pollfd> polled;
  for (int i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
    const int events = (ARES_GETSOCK_READABLE(wanted, i) ? POLLIN : 0) |
                       (ARES_GETSOCK_WRITABLE(wanted, i) ? POLLOUT : 0);
    if (events != 0) polled.push_back({.fd = sockets[i], .events = static_cast<short>(events)});
  }
  poll(polled.data(), polled.size(), kPollMs);
  // Also without any socket that is ready: a server's time may be over.
  ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  for (const pollfd& one : polled) {
    ares_process_fd(channel, (one.revents & ~POLLOUT) != 0 ? one.fd : ARES_SOCKET_BAD,
                    (one.revents & POLLOUT) != 0 ? one.fd : ARES_SOCKET_BAD);
  }
}

}  // namespace

Resolver::Resolver(EncoderName name, OnAnswer on_answer)
    : name_(std::move(name)), on_answer_(std::move(on_answer)), thread_([this] { Run(); }) {}

Resolver::~Resolver() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Resolver::Hurry() {
  const std::lock_guard lock(mutex_);
  hurry_ = true;
  changed_.notify_all();
}

bool Resolver::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Resolver::Run() {
  while (!stopping()) {
    on_answer_(Ask());
    std::unique_lock lock(mutex_);
    hurry_ = false;
    if (changed_.wait_for(lock, absl::ToChronoMilliseconds(kAtMost),
                          [this] { return stopping_; })) {
      return;
    }
    changed_.wait_for(lock, absl::ToChronoMilliseconds(kEvery - kAtMost),
                      [this] { return stopping_ || hurry_; });
  }
}

Resolver::Addresses Resolver::Ask() const {
  // New every time: the system's settings may change while we run.
  ares_options options{};
  options.timeout = kServerMs;
  options.tries = kRepetitions;
  ares_channel channel = nullptr;
  int status = ares_init_options(&channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  const auto failed = [&](int code) {
    return absl::UnavailableError(
        absl::StrCat("the name ", name_.host, " can't be resolved: ", ares_strerror(code)));
  };
  if (status != ARES_SUCCESS) return failed(status);
  if (!name_.server.empty()) status = ares_set_servers_ports_csv(channel, name_.server.c_str());
  std::optional<Answer> answer;
  for (const int family : {AF_INET, AF_INET6}) {
    if (status != ARES_SUCCESS) break;
    const absl::Duration end = SteadyNow() + kPatience;
    const ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = family};
    answer.reset();
    ares_getaddrinfo(channel, name_.host.c_str(), nullptr, &hints, OnAnswered, &answer);
    while (!answer.has_value()) {
      Move(channel);
      if (stopping() || SteadyNow() > end) ares_cancel(channel);
    }
    if (answer->status != ARES_ENODATA && answer->status != ARES_ENOTFOUND) break;
  }
  ares_destroy(channel);
  if (status == ARES_SUCCESS) status = answer->status;
  if (status == ARES_SUCCESS && answer->hosts.empty()) status = ARES_ENODATA;
  if (status != ARES_SUCCESS) return failed(status);
  std::vector<std::string>& addresses = answer->hosts;
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  for (std::string& address : addresses) absl::StrAppend(&address, ":", name_.port);
  return std::move(addresses);
}

}  // namespace softsplice
