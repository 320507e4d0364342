#include "common/secrets/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/secrets/self_signed.h"

namespace softsplice {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

const TlsPaths kAll = {.certificate = "c.pem", .key = "k.pem", .ca = "a.pem"};
const TlsPaths kPair = {.certificate = "c.pem", .key = "k.pem"};

std::string Why(const TlsPaths& paths, const std::vector<std::string>& texts,
                absl::Time now = absl::Now()) {
  const absl::Status status = CheckTls(paths, texts, now).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

class CertificatesTest : public testing::Test {
 protected:
  const KeyPair one_ = MakeSelfSigned("one");
  const KeyPair other_ = MakeSelfSigned("other");
};

TEST_F(CertificatesTest, TakesWhatFits) {
  const auto set = CheckTls(kAll, {one_.certificate, one_.key, other_.certificate}, absl::Now());
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->certificate, one_.certificate);
  EXPECT_EQ(set->key, one_.key);
  EXPECT_EQ(set->ca, other_.certificate);
  const absl::Duration left = set->expiry - absl::Now();
  EXPECT_LT(left, 3650 * absl::Hours(24) + absl::Seconds(1));
  EXPECT_GT(left, 3649 * absl::Hours(24));
  EXPECT_TRUE(CheckTls({.ca = "a.pem"}, {one_.certificate}, absl::Now()).ok());
  EXPECT_TRUE(CheckTls({}, {}, absl::Now()).ok());
  // Certificates after the first are those of the authorities between.
  EXPECT_TRUE(CheckTls(kPair, {one_.certificate + other_.certificate, one_.key}, absl::Now()).ok());
}

TEST_F(CertificatesTest, SaysThatTheKeyIsAnothers) {
  EXPECT_EQ(Why(kPair, {one_.certificate, other_.key}), "k.pem is not the key of c.pem");
  EXPECT_EQ(Why(kPair, {other_.certificate + one_.certificate, one_.key}),
            "k.pem is not the key of c.pem")
      << "the first one is the service's own";
  EXPECT_EQ(Why({.certificate = "c.pem"}, {one_.certificate}),
            "a certificate and its key come together");
}

TEST_F(CertificatesTest, SaysThatAFileIsNotWhole) {
  const std::string& whole = one_.certificate;
  EXPECT_EQ(Why(kPair, {"", one_.key}), "c.pem holds no certificate (PEM)");
  EXPECT_EQ(Why(kPair, {one_.key, one_.key}), "c.pem holds no certificate (PEM)");
  for (const size_t bytes : {whole.size() / 3, whole.size() - 20, size_t{40}}) {
    EXPECT_THAT(Why(kPair, {whole.substr(0, bytes), one_.key}),
                HasSubstr("c.pem holds a certificate that is cut off or damaged"));
    EXPECT_THAT(Why(kPair, {whole + whole.substr(0, bytes), one_.key}),
                HasSubstr("c.pem holds a certificate that is cut off or damaged"));
  }
  for (const std::string& key : {std::string(), std::string("text"),
                                 one_.key.substr(0, one_.key.size() / 2), one_.certificate}) {
    EXPECT_THAT(Why(kPair, {whole, key}), HasSubstr("k.pem holds no private key"));
  }
  EXPECT_EQ(Why({.ca = "a.pem"}, {"text"}), "a.pem holds no certificate (PEM)");
}

TEST_F(CertificatesTest, SaysThatTheKeyHasAPassphrase) {
  BIO* in = BIO_new_mem_buf(one_.key.data(), static_cast<int>(one_.key.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr);
  BIO* out = BIO_new(BIO_s_mem());
  char passphrase[] = "secret";
  PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_256_cbc(), passphrase, 6, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  EXPECT_THAT(Why(kPair, {one_.certificate, std::string(text, static_cast<size_t>(size))}),
              HasSubstr("without a passphrase"));
  BIO_free(in);
  BIO_free(out);
  EVP_PKEY_free(key);
}

TEST_F(CertificatesTest, LooksAtTheTime) {
  const std::vector<std::string> texts = {one_.certificate, one_.key};
  EXPECT_THAT(Why(kPair, texts, absl::Now() + 3651 * absl::Hours(24)),
              MatchesRegex("c.pem has expired on 20..-..-.. ..:..:.. UTC"));
  EXPECT_THAT(Why(kPair, texts, absl::Now() - absl::Hours(48)),
              MatchesRegex("c.pem is not valid before 20..-..-.. ..:..:.. UTC"));
  EXPECT_THAT(Why({.ca = "a.pem"}, {one_.certificate}, absl::Now() + 3651 * absl::Hours(24)),
              HasSubstr("a.pem has expired on"));
}

// Too weak for TLS, but for nothing else.
TEST_F(CertificatesTest, SaysThatTlsDoesNotTakeIt) {
  EVP_PKEY* key = EVP_RSA_gen(512);
  if (key == nullptr) GTEST_SKIP() << "this OpenSSL makes no such key";
  X509* x509 = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(x509), -60);
  X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
  X509_set_pubkey(x509, key);
  X509_sign(x509, key, EVP_sha256());
  const auto pem = [](auto write) {
    BIO* bytes = BIO_new(BIO_s_mem());
    write(bytes);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bytes, &text);
    std::string result(text, static_cast<size_t>(size));
    BIO_free(bytes);
    return result;
  };
  const std::string certificate = pem([&](BIO* to) { PEM_write_bio_X509(to, x509); });
  const std::string secret = pem(
      [&](BIO* to) { PEM_write_bio_PrivateKey(to, key, nullptr, nullptr, 0, nullptr, nullptr); });
  X509_free(x509);
  EVP_PKEY_free(key);
  EXPECT_EQ(Why(kPair, {certificate, secret}), "c.pem can't be used: ee key too small");
}

}  // namespace
}  // namespace softsplice
