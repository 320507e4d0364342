// What a decoder is told about where its encoders are: one of the --encoder flag's values.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace softsplice {

// Either one address, or a host name that stands for any number of addresses.
struct EncoderName {
  std::string text;     // as it was given
  std::string address;  // IP:PORT, [IPv6]:PORT or unix:PATH; empty: host is to be resolved
  std::string host;
  std::string port;
  std::string server;  // the DNS server to ask, IP or IP:PORT; empty: as the system is set up

  bool named() const { return address.empty(); }
};

// Takes HOST:PORT, IP:PORT, [IPv6]:PORT, dns:///NAME:PORT, dns://SERVER/NAME:PORT (SERVER is IP or
// IP:PORT) and unix:PATH. INVALID_ARGUMENT with a sentence: anything else.
absl::StatusOr<EncoderName> ParseEncoderName(absl::string_view text);

}  // namespace softsplice
