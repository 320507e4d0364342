// Plain HTTP for operators, on an address of its own: /metrics, and /livez and /readyz for probes
// that can't ask gRPC.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "common/server/metrics.h"
#include "common/server/phase.h"

struct mg_connection;
struct mg_context;

namespace softsplice {

// Answers from its start to its end, while the model loads and while the service drains. GET only,
// a few connections at once, each of one small request that comes in time; it keeps nobody else
// waiting.
class AdminServer {
 public:
  // A connection has one of the threads until it was answered; some more may wait for a thread.
  // All limits are for those who mean no good: scrapes and probes take milliseconds.
  static constexpr int kThreads = 8;
  static constexpr int kWaiting = 8;
  static constexpr int kMostRequestBytes = 4096;
  static constexpr absl::Duration kTimeLimit = absl::Seconds(2);  // to ask, to take an answer

  // `address`: host:port (port 0: a free one), which the log tells. Null: it is empty, nothing is
  // wanted. INVALID_ARGUMENT: it is something else; ALREADY_EXISTS: something listens there;
  // FAILED_PRECONDITION: any other reason. The others outlive the server.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& address,
                                                            Metrics& metrics,
                                                            const LivePhase& phase,
                                                            const Logger& logger);
  // Ends what is under way, within two seconds.
  ~AdminServer();

  const std::string& address() const { return address_; }  // the port filled in

 private:
  struct Answer;

  AdminServer(Metrics& metrics, const LivePhase& phase) : metrics_(metrics), phase_(phase) {}
  absl::Status Listen(const std::string& address);
  Answer AnswerTo(const std::string& method, const std::string& path) const;
  static int OnRequest(mg_connection* connection);

  Metrics& metrics_;
  const LivePhase& phase_;
  std::string address_;
  sockaddr_storage name_ = {};  // of the first socket
  mg_context* http_ = nullptr;
};

}  // namespace softsplice
