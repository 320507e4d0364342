#include "common/server/tls_listener.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <string>
#include <utility>
#include <vector>

namespace softsplice {
namespace {

// gRPC's C++ side knows certificates that stay, and files that it watches without looking at what
// it takes. The C side asks for them at each handshake.
class TlsServerCredentials final : public grpc::ServerCredentials {
 public:
  TlsServerCredentials(const Reread<TlsSet>& files, std::string own)
      : files_(files), own_(std::move(own)) {
    const bool asks = !files_.value()->ca.empty();
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            asks ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                 : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            Fetch, this));
  }
  ~TlsServerCredentials() override { grpc_server_credentials_release(credentials_); }

  // Calls look themselves: they can say why not.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // Asked as each connection begins, by the listener's thread.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto& credentials = *static_cast<TlsServerCredentials*>(self);
    std::shared_ptr<const TlsSet> set = credentials.files_.value();
    if (set == credentials.given_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const std::string authorities = set->ca + "\n" + credentials.own_;
    const grpc_ssl_pem_key_cert_pair pair = {set->key.c_str(), set->certificate.c_str()};
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    credentials.given_ = std::move(set);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const Reread<TlsSet>& files_;
  const std::string own_;  // a certificate
  std::shared_ptr<const TlsSet> given_;
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeTlsServerCredentials(const Reread<TlsSet>& files,
                                                                  const KeyPair& own) {
  return std::make_shared<TlsServerCredentials>(files, own.certificate);
}

std::shared_ptr<grpc::ChannelCredentials> MakeOwnChannelCredentials(const KeyPair& own) {
  const std::vector<grpc::experimental::IdentityKeyCertPair> pairs = {
      {.private_key = own.key, .certificate_chain = own.certificate}};
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(own.certificate, pairs));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace softsplice
