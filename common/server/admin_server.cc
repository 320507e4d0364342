#include "common/server/admin_server.h"

#include <arpa/inet.h>
#include <civetweb.h>

#include <array>
#include <chrono>
#include <exception>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/server/address.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr char kPlain[] = "text/plain; charset=utf-8";
constexpr char kMetrics[] = "text/plain; version=0.0.4; charset=utf-8";

sockaddr_storage NameOf(const Fd& socket) {
  sockaddr_storage name = {};
  socklen_t size = sizeof(name);
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size);
  return name;
}

// As civetweb takes it: numbers, and "+PORT" for all interfaces of both families.
std::string NumbersOf(const sockaddr_storage& name) {
  std::array<char, INET6_ADDRSTRLEN> text = {};
  if (name.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&name);
    const int port = ntohs(v6->sin6_port);
    if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) return absl::StrCat("+", port);
    inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    return absl::StrCat("[", text.data(), "]:", port);
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name);
  inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
  return absl::StrCat(text.data(), ":", ntohs(v4->sin_port));
}

const char* WordFor(Phase phase) {
  switch (phase) {
    case Phase::kLoading:
      return "loading";
    case Phase::kReady:
      return "ready";
    case Phase::kStalled:
      return "stalled";
    case Phase::kDraining:
      return "draining";
  }
  return "";
}

}  // namespace

struct AdminServer::Answer {
  int code = 200;
  std::string body;
  const char* type = kPlain;
};

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& address,
                                                                Metrics& metrics,
                                                                const LivePhase& phase,
                                                                const Logger& logger) {
  std::unique_ptr<AdminServer> server;
  if (address.empty()) return server;
  server.reset(new AdminServer(metrics, phase));
  RETURN_IF_ERROR(server->Listen(address));
  logger.Log(LogLevel::kInfo, "answers operators", {{"address", server->address()}});
  return server;
}

// Addresses are looked up, and tried, as those of gRPC are; then they are civetweb's.
absl::Status AdminServer::Listen(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("operators can't be answered on ", address, ": give host:port"));
  }
  std::vector<std::string> ports;
  {
    ASSIGN_OR_RETURN(const ListeningSockets tried, softsplice::Listen(address));
    for (const Fd& socket : tried.sockets) ports.push_back(NumbersOf(NameOf(socket)));
    name_ = NameOf(tried.sockets.front());
    address_ = tried.address;
  }
  const std::vector<std::string> settings = {
      "listening_ports",    absl::StrJoin(ports, ","),
      "num_threads",        absl::StrCat(kThreads),
      "connection_queue",   absl::StrCat(kWaiting),
      "max_request_size",   absl::StrCat(kMostRequestBytes),
      "request_timeout_ms", absl::StrCat(absl::ToInt64Milliseconds(kTimeLimit)),
      "enable_keep_alive",  "no"};
  std::vector<const char*> options;
  for (const std::string& word : settings) options.push_back(word.c_str());
  options.push_back(nullptr);
  mg_callbacks callbacks = {};
  callbacks.begin_request = OnRequest;
  callbacks.log_message = [](const mg_connection*, const char*) { return 1; };  // nothing to stderr
  mg_init_data init = {
      .callbacks = &callbacks, .user_data = this, .configuration_options = options.data()};
  std::array<char, 256> why = {};
  mg_error_data error = {.text = why.data(), .text_buffer_size = why.size()};
  http_ = mg_start2(&init, &error);
  if (http_ != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("can't listen on ", address, ": ", why.data()));
}

// civetweb looks every two seconds whether it is to stop, and whenever somebody comes.
AdminServer::~AdminServer() {
  if (http_ == nullptr) return;
  const std::future<void> stopped = std::async(std::launch::async, [this] { mg_stop(http_); });
  while (stopped.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout) {
    const Fd visitor(socket(name_.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)connect(visitor.get(), reinterpret_cast<const sockaddr*>(&name_), sizeof(name_));
  }
}

AdminServer::Answer AdminServer::AnswerTo(const std::string& method,
                                          const std::string& path) const {
  const Phase phase = phase_;
  const auto probe = [&](bool well, const char* word) {
    return Answer{.code = well ? 200 : 503, .body = absl::StrCat(word, "\n")};
  };
  if (method != "GET") return {.code = 405};
  if (path == "/metrics") return {.body = metrics_.Text(), .type = kMetrics};
  if (path == "/readyz") return probe(phase == Phase::kReady, WordFor(phase));
  if (path == "/livez") {
    const bool alive = phase != Phase::kStalled;
    return probe(alive, alive ? "alive" : WordFor(phase));
  }
  return {.code = 404};
}

int AdminServer::OnRequest(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const auto* server = static_cast<const AdminServer*>(request->user_data);
  Answer answer;
  try {
    answer = server->AnswerTo(request->request_method, request->local_uri);
  } catch (const std::exception&) {
    answer = {.code = 500};  // memory is short
  }
  const std::string message = absl::StrCat(
      "HTTP/1.1 ", answer.code, " ", mg_get_response_code_text(connection, answer.code),
      "\r\nContent-Type: ", answer.type, "\r\nContent-Length: ", answer.body.size(),
      answer.code == 405 ? "\r\nAllow: GET" : "",
      "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", answer.body);
  mg_write(connection, message.data(), message.size());
  return answer.code;
}

}  // namespace softsplice
