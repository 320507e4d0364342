#include "common/secrets/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/clock.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Bytes = std::unique_ptr<BIO, Free<BIO_free>>;
using Context = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;

absl::Status Wrong(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, " ", what));
}

Bytes Open(const std::string& text) {
  return Bytes(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The sentence of OpenSSL's last error.
std::string LastError() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason == nullptr ? "it is of no use for TLS" : reason;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm utc = {};
  ASN1_TIME_to_tm(time, &utc);
  return absl::FromTM(utc, absl::UTCTimeZone());
}

std::string Date(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

absl::StatusOr<std::vector<Certificate>> ReadCertificates(const std::string& path,
                                                          const std::string& text) {
  ERR_clear_error();
  const Bytes bytes = Open(text);
  std::vector<Certificate> certificates;
  while (X509* one = PEM_read_bio_X509(bytes.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(one);
  }
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    return Wrong(path, "holds a certificate that is cut off or damaged");
  }
  if (certificates.empty()) return Wrong(path, "holds no certificate (PEM)");
  return certificates;
}

absl::StatusOr<Key> ReadKey(const std::string& path, const std::string& text) {
  const Bytes bytes = Open(text);
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bytes.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) return Wrong(path, "holds no private key (PEM, without a passphrase)");
  return key;
}

absl::Status CheckTime(const std::string& path, const X509& certificate, absl::Time now) {
  const absl::Time begin = TimeOf(X509_get0_notBefore(&certificate));
  const absl::Time end = TimeOf(X509_get0_notAfter(&certificate));
  if (now < begin) return Wrong(path, absl::StrCat("is not valid before ", Date(begin)));
  if (now >= end) return Wrong(path, absl::StrCat("has expired on ", Date(end)));
  return absl::OkStatus();
}

// Fits what TLS itself asks for: the key's type and size, the signatures' digests.
absl::Status CheckUse(const TlsPaths& paths, const std::vector<Certificate>& chain,
                      const Key& key) {
  const Context context(SSL_CTX_new(TLS_method()));
  ERR_clear_error();
  for (size_t i = 0; i < chain.size(); ++i) {
    const bool taken = i == 0 ? SSL_CTX_use_certificate(context.get(), chain[i].get()) == 1
                              : SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) == 1;
    if (!taken) return Wrong(paths.certificate, absl::StrCat("can't be used: ", LastError()));
  }
  if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
    return Wrong(paths.key, absl::StrCat("is not the key of ", paths.certificate));
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) {
    return Wrong(paths.key, absl::StrCat("can't be used: ", LastError()));
  }
  return absl::OkStatus();
}

absl::Status CheckPair(const TlsPaths& paths, absl::Time now, TlsSet* set) {
  ASSIGN_OR_RETURN(const auto chain, ReadCertificates(paths.certificate, set->certificate));
  ASSIGN_OR_RETURN(const Key key, ReadKey(paths.key, set->key));
  RETURN_IF_ERROR(CheckUse(paths, chain, key));
  for (const Certificate& one : chain) {
    RETURN_IF_ERROR(CheckTime(paths.certificate, *one, now));
    set->expiry = std::min(set->expiry, TimeOf(X509_get0_notAfter(one.get())));
  }
  return absl::OkStatus();
}

// Old authorities stay in bundles for years.
absl::Status CheckAuthorities(const TlsPaths& paths, absl::Time now, const TlsSet& set) {
  ASSIGN_OR_RETURN(const auto authorities, ReadCertificates(paths.ca, set.ca));
  absl::Status status;
  for (const Certificate& one : authorities) {
    status = CheckTime(paths.ca, *one, now);
    if (status.ok()) return status;
  }
  return status;
}

// Those that are set, in the order of CheckTls.
std::vector<std::string> FilesOf(const TlsPaths& paths) {
  std::vector<std::string> files;
  for (const std::string& path : {paths.certificate, paths.key, paths.ca}) {
    if (!path.empty()) files.push_back(path);
  }
  return files;
}

}  // namespace

absl::StatusOr<TlsSet> CheckTls(const TlsPaths& paths, const std::vector<std::string>& texts,
                                absl::Time now) {
  if (paths.certificate.empty() != paths.key.empty()) {
    return absl::InvalidArgumentError("a certificate and its key come together");
  }
  TlsSet set;
  auto text = texts.begin();
  if (!paths.certificate.empty()) {
    set.certificate = *text++;
    set.key = *text++;
    RETURN_IF_ERROR(CheckPair(paths, now, &set));
  }
  if (!paths.ca.empty()) {
    set.ca = *text++;
    RETURN_IF_ERROR(CheckAuthorities(paths, now, set));
  }
  return set;
}

absl::StatusOr<std::unique_ptr<Reread<TlsSet>>> OpenTls(const TlsPaths& paths) {
  return Reread<TlsSet>::Open(FilesOf(paths), [paths](const std::vector<std::string>& texts) {
    return CheckTls(paths, texts, absl::Now());
  });
}

}  // namespace softsplice
