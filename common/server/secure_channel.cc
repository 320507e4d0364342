#include "common/server/secure_channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::InterceptionHookPoints;

// Not credentials of gRPC's: those do not go over plain connections, be they to a unix socket.
class Bearer final : public grpc::experimental::Interceptor {
 public:
  explicit Bearer(std::string token) : token_(std::move(token)) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace(kAuthorizationHeader,
                                                 absl::StrCat(kBearer, token_));
    }
    methods->Proceed();
  }

 private:
  const std::string token_;
};

class BearerFactory final : public ClientInterceptorFactoryInterface {
 public:
  explicit BearerFactory(std::function<std::string()> token) : token_(std::move(token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* /*info*/) override {
    return new Bearer(token_());
  }

 private:
  const std::function<std::string()> token_;
};

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ChannelSecurity& security) {
  if (security.tls == nullptr) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({.pem_root_certs = security.tls->ca,
                               .pem_private_key = security.tls->key,
                               .pem_cert_chain = security.tls->certificate});
}

}  // namespace

std::shared_ptr<grpc::Channel> OpenSecureChannel(const std::string& target,
                                                 const ChannelSecurity& security,
                                                 grpc::ChannelArguments arguments) {
  if (!security.name.empty()) arguments.SetSslTargetNameOverride(security.name);
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> interceptors;
  if (security.token != nullptr) {
    interceptors.push_back(std::make_unique<BearerFactory>(security.token));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target, Credentials(security), arguments, std::move(interceptors));
}

bool StaysHere(const std::string& address) {
  for (const char* local : {"unix:", "localhost:", "127.", "[::1]:"}) {
    if (absl::StartsWith(address, local)) return true;
  }
  return false;
}

}  // namespace softsplice
