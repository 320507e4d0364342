#include "deploy/cli/tls_trial.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace softsplice {
namespace {

constexpr int kSeconds = 3;
constexpr int kNapMs = 10;

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Stream = std::unique_ptr<BIO, decltype(&BIO_free_all)>;

Stream Open(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free_all};
}

std::vector<X509*> ReadCertificates(const std::string& text) {
  const Stream bytes = Open(text);
  std::vector<X509*> certificates;
  while (X509* one = PEM_read_bio_X509(bytes.get(), nullptr, nullptr, nullptr)) {
    certificates.push_back(one);
  }
  return certificates;
}

// Called when the server asks for a certificate and there is none to show.
int OnAsked(SSL* ssl, X509** /*certificate*/, EVP_PKEY** /*key*/) {
  *static_cast<bool*>(SSL_get_app_data(ssl)) = true;
  return 0;
}

// `set` was checked: what is in it can be used.
Context MakeContext(const TlsSet& set) {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);  // the result is looked at later
  SSL_CTX_set_client_cert_cb(context.get(), OnAsked);
  if (set.ca.empty()) SSL_CTX_set_default_verify_paths(context.get());
  for (X509* authority : ReadCertificates(set.ca)) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), authority);
    X509_free(authority);
  }
  bool first = true;
  for (X509* one : ReadCertificates(set.certificate)) {
    if (first) {
      SSL_CTX_use_certificate(context.get(), one);
    } else {
      SSL_CTX_add1_chain_cert(context.get(), one);
    }
    first = false;
    X509_free(one);
  }
  if (!set.key.empty()) {
    const Stream bytes = Open(set.key);
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bytes.get(), nullptr, nullptr, nullptr);
    SSL_CTX_use_PrivateKey(context.get(), key);
    EVP_PKEY_free(key);
  }
  return context;
}

void Expect(SSL* ssl, const std::string& name) {
  const std::string host(absl::StripSuffix(absl::StripPrefix(name, "["), "]"));
  if (host.empty() || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1) return;
  SSL_set1_host(ssl, host.c_str());
  SSL_set_tlsext_host_name(ssl, host.c_str());
}

// Whom a certificate is for.
std::string NamesOf(X509* certificate) {
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  std::vector<std::string> texts;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const Stream bytes(BIO_new(BIO_s_mem()), BIO_free_all);
    GENERAL_NAME_print(bytes.get(), sk_GENERAL_NAME_value(names, i));
    char* text = nullptr;
    const long size = BIO_get_mem_data(bytes.get(), &text);
    const std::string whole(text, static_cast<size_t>(size));
    texts.push_back(whole.substr(whole.find(':') + 1));
  }
  GENERAL_NAMES_free(names);
  return texts.empty() ? "nobody" : absl::StrJoin(texts, ", ");
}

std::string LastReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason == nullptr ? "the connection was closed" : reason;
}

TlsTrial Judge(long verified, SSL* ssl) {
  switch (verified) {
    case X509_V_OK:
      return {TlsOutcome::kDone, ""};
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return {TlsOutcome::kUntrusted, ""};
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return {TlsOutcome::kOtherName, NamesOf(SSL_get0_peer_certificate(ssl))};
    default:
      return {TlsOutcome::kBadCertificate, X509_verify_cert_error_string(verified)};
  }
}

}  // namespace

TlsTrial TryTls(const std::string& target, const std::string& name, const TlsSet& set) {
  const Context context = MakeContext(set);
  const Stream plain(BIO_new_connect(target.c_str()), BIO_free_all);
  if (BIO_do_connect_retry(plain.get(), kSeconds, kNapMs) <= 0) return {TlsOutcome::kNobody, ""};
  const timeval limit = {.tv_sec = kSeconds};
  const int fd = static_cast<int>(BIO_get_fd(plain.get(), nullptr));
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const Stream stream(BIO_new_ssl(context.get(), /*client=*/1), BIO_free_all);
  SSL* ssl = nullptr;
  BIO_get_ssl(stream.get(), &ssl);
  constexpr unsigned char kAlpn[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl, kAlpn, sizeof(kAlpn));
  Expect(ssl, name);
  bool asked = false;
  SSL_set_app_data(ssl, &asked);
  SSL_set_fd(ssl, fd);
  ERR_clear_error();
  if (SSL_connect(ssl) != 1) {
    // Its alerts say that it knows TLS.
    if (SSL_get0_peer_certificate(ssl) == nullptr) return {TlsOutcome::kNoTls, LastReason()};
    return {TlsOutcome::kRefused, LastReason()};
  }
  const TlsTrial trial = Judge(SSL_get_verify_result(ssl), ssl);
  if (trial.outcome != TlsOutcome::kDone) return trial;
  // Servers look at the client's certificate after the handshake, as the client sees it.
  char byte = 0;
  ERR_clear_error();
  if (BIO_read(stream.get(), &byte, 1) > 0) return trial;
  return {asked ? TlsOutcome::kWantsCertificate : TlsOutcome::kRefused, LastReason()};
}

}  // namespace softsplice
