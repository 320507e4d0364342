#include "decoder_svc/encoder_pool/encoder_name.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

bool IsIp(int family, absl::string_view text) {
  in6_addr parsed;
  return inet_pton(family, std::string(text).c_str(), &parsed) == 1;
}

// Letters, digits, '-', '_' and '.'.
bool IsHostName(absl::string_view text) {
  return !text.empty() && text.front() != '-' && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

bool IsPort(absl::string_view text) {
  int port = 0;
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, &port) && port > 0 && port < 65536;
}

// "HOST:PORT" as its two parts; the port is empty where there is none.
std::pair<absl::string_view, absl::string_view> Split(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

bool IsServer(absl::string_view text) {
  const auto [host, port] = Split(text);
  return IsIp(AF_INET, text) || (IsIp(AF_INET, host) && IsPort(port));
}

absl::Status Refuse(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" ", why,
                                                 "; an encoder is HOST:PORT, dns:///NAME:PORT (all "
                                                 "replicas behind a name) or unix:PATH"));
}

}  // namespace

absl::StatusOr<EncoderName> ParseEncoderName(absl::string_view text) {
  EncoderName name{.text = std::string(text)};
  if (text.empty()) return Refuse(text, "names no encoder");
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:")) {
    if (rest.empty()) return Refuse(text, "has no path");
    name.address = name.text;
    return name;
  }
  if (absl::ConsumePrefix(&rest, "dns://")) {
    const size_t slash = rest.find('/');
    if (slash == absl::string_view::npos) return Refuse(text, "has no name");
    name.server = std::string(rest.substr(0, slash));
    if (!name.server.empty() && !IsServer(name.server)) {
      return Refuse(text, absl::StrCat("asks the DNS server \"", name.server,
                                       "\", which is not IP or IP:PORT"));
    }
    rest.remove_prefix(slash + 1);
  } else if (const size_t scheme = rest.find("://"); scheme != absl::string_view::npos) {
    return Refuse(text, absl::StrCat("begins with ", rest.substr(0, scheme + 3)));
  }
  auto [host, port] = Split(rest);
  if (!IsPort(port)) return Refuse(text, "has no port of 1 to 65535");
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  if (bracketed ? IsIp(AF_INET6, host) : IsIp(AF_INET, host)) {
    name.address = std::string(rest);
    return name;
  }
  if (bracketed || !IsHostName(host)) {
    return Refuse(text, "has no host name or IP address (IPv6 in brackets)");
  }
  name.host = std::string(host);
  name.port = std::string(port);
  return name;
}

}  // namespace softsplice
