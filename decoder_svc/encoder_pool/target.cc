#include "decoder_svc/encoder_pool/target.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "decoder_svc/encoder_pool/probe.h"

namespace softsplice {
namespace {

// In gRPC's words, which need no resolving.
std::string Uri(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return address;
  if (!absl::StartsWith(address, "[")) return absl::StrCat("ipv4:", address);
  return absl::StrCat("ipv6:", absl::StrReplaceAll(address, {{"[", "%5B"}, {"]", "%5D"}}));
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, const EncoderName& name,
                                           const ChannelSecurity& security) {
  grpc::ChannelArguments arguments;
  // Whose certificate it has to be, too.
  if (name.named()) {
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, absl::StrCat(name.host, ":", name.port));
  }
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // In spite of its name this is what a connection may take to come about.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return OpenSecureChannel(Uri(address), security, std::move(arguments));
}

}  // namespace

Target::Target(const std::string& target_address, const EncoderName& encoder_name,
               const ChannelSecurity& security, absl::Duration now)
    : address(target_address),
      name(encoder_name.text),
      tls(security.tls),
      channel(OpenChannel(target_address, encoder_name, security)),
      stub(v1::EncoderService::NewStub(channel)),
      health_stub(grpc::health::v1::Health::NewStub(channel)),
      health(now) {}

Target::~Target() = default;

}  // namespace softsplice
