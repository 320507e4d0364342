// One TLS handshake, to find out what is wrong: gRPC says only that there is no connection.
#pragma once

#include <string>

#include "common/secrets/certificates.h"

namespace softsplice {

enum class TlsOutcome {
  kNobody,            // nothing listens there, or it does not answer in time
  kNoTls,             // what listens there does not speak TLS
  kUntrusted,         // its certificate is of no authority in the set
  kOtherName,         // it is for others; they are the detail
  kBadCertificate,    // it has expired, or the like
  kWantsCertificate,  // of the client, which has none
  kRefused,           // the client's certificate, as it seems
  kDone,
};

struct TlsTrial {
  TlsOutcome outcome;
  std::string detail;  // for people
};

// With `target`, HOST:PORT, whose certificate has to be for `name`, a host or an IP address (empty:
// for anybody). `set`: as a client; without ca: the system's authorities. Takes 3 s at most, and
// what the system takes to look up the host.
TlsTrial TryTls(const std::string& target, const std::string& name, const TlsSet& set);

}  // namespace softsplice
