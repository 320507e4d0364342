#include "deploy/cli/access.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/secrets/files.h"
#include "common/secrets/tokens.h"
#include "common/server/secure_channel.h"
#include "common/status/macros.h"
#include "deploy/cli/tls_trial.h"

namespace softsplice {
namespace {

constexpr char kHttps[] = "https://";
constexpr char kHttpsPort[] = "443";

// An address's parts.
struct Place {
  bool tls = false;
  std::string target;  // HOST:PORT or unix:PATH
  std::string host;    // of TLS
};

Place PlaceOf(absl::string_view address) {
  Place place;
  place.tls = absl::ConsumePrefix(&address, kHttps);
  place.target = std::string(address);
  if (!place.tls) return place;
  const size_t colon = address.rfind(':');
  const bool has_port =
      colon != absl::string_view::npos && address.find(']', colon) == address.npos;
  place.host = std::string(address.substr(0, has_port ? colon : address.size()));
  if (!has_port) absl::StrAppend(&place.target, ":", kHttpsPort);
  return place;
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, ReadFiles({path}));
  return ParseToken(texts.front(), path);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& address,
                                                           const Access& access) {
  const Place place = PlaceOf(address);
  ChannelSecurity security;
  if (place.tls) {
    ASSIGN_OR_RETURN(const auto files, OpenTls(access.tls));
    security.tls = files->value();
    security.name = access.name;
  }
  if (!access.token_file.empty()) {
    if (!place.tls && !StaysHere(address)) {
      return absl::InvalidArgumentError(absl::StrCat("the token would travel to ", address,
                                                     " in plain text; write https://", address));
    }
    ASSIGN_OR_RETURN(std::string token, ReadToken(access.token_file));
    security.token = [token = std::move(token)] { return token; };
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A new channel tries at once, whatever an earlier one to the same address met.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return OpenSecureChannel(place.target, security, std::move(arguments));
}

Access AccessToPeer(const std::string& address, const Access& access, std::string* endpoint) {
  const Place place = PlaceOf(address);
  Access peer = access;
  if (!place.tls) return peer;
  *endpoint = absl::StrCat(kHttps, *endpoint);
  if (peer.name.empty()) peer.name = place.host;
  return peer;
}

absl::Status WhyUnreachable(const std::string& address, const Access& access) {
  const Place place = PlaceOf(address);
  const absl::Status nobody = absl::UnavailableError(absl::StrCat("nothing answers at ", address));
  if (absl::StartsWith(place.target, "unix:")) return nobody;
  if (!place.tls) {
    if (TryTls(place.target, "", {}).outcome == TlsOutcome::kNoTls) return nobody;
    return absl::FailedPreconditionError(
        absl::StrCat("the service at ", address, " speaks TLS; write https://", address));
  }
  const auto files = OpenTls(access.tls);
  if (!files.ok()) return files.status();
  const std::string name = access.name.empty() ? place.host : access.name;
  const TlsTrial trial = TryTls(place.target, name, *(*files)->value());
  const auto why = [&](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat("the service at ", address, " ", what));
  };
  switch (trial.outcome) {
    case TlsOutcome::kNobody:
    case TlsOutcome::kDone:
      return nobody;
    case TlsOutcome::kNoTls:
      return why("does not speak TLS; write its address without https://");
    case TlsOutcome::kUntrusted:
      return why("has a certificate of no authority that is trusted here; name it with --ca");
    case TlsOutcome::kOtherName:
      return why(absl::StrCat("has no certificate for ", name, ", but for ", trial.detail,
                              "; use that name, or --tls-name"));
    case TlsOutcome::kBadCertificate:
      return why(absl::StrCat("has a certificate that is of no use (", trial.detail,
                              "); its operator has to renew it"));
    case TlsOutcome::kWantsCertificate:
      return why("wants a client's certificate; give --cert and --key");
    case TlsOutcome::kRefused:
      return why(absl::StrCat("refuses the connection (", trial.detail,
                              "); is --cert of an authority that it trusts?"));
  }
  return nobody;
}

}  // namespace softsplice
