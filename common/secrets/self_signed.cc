#include "common/secrets/self_signed.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

namespace softsplice {
namespace {

constexpr long kSeconds = 10L * 365 * 24 * 3600;
// The clocks of a process's two ends are one, but somebody may set it.
constexpr long kBefore = -24L * 3600;

void Add(X509* certificate, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

template <class Write>
std::string Pem(Write write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bytes(BIO_new(BIO_s_mem()), BIO_free);
  write(bytes.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(bytes.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

}  // namespace

KeyPair MakeSelfSigned(const std::string& name) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509* const x509 = certificate.get();
  X509_set_version(x509, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509), kBefore);
  X509_gmtime_adj(X509_getm_notAfter(x509), kSeconds);
  X509_NAME* const subject = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(x509, subject);
  X509_set_pubkey(x509, key.get());
  Add(x509, NID_basic_constraints, "critical,CA:FALSE");
  Add(x509, NID_subject_alt_name, ("DNS:" + name).c_str());
  X509_sign(x509, key.get(), EVP_sha256());
  return {.certificate = Pem([&](BIO* bytes) { PEM_write_bio_X509(bytes, x509); }),
          .key = Pem([&](BIO* bytes) {
            PEM_write_bio_PrivateKey(bytes, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace softsplice
