#include "common/hash/sha256.h"

#include <openssl/evp.h>

#include "absl/base/macros.h"
#include "absl/strings/escaping.h"

namespace softsplice {

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  const int ok = EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  ABSL_ASSERT(ok == 1);
}

Sha256::~Sha256() = default;

void Sha256::Update(const void* data, size_t bytes) {
  const int ok = EVP_DigestUpdate(context_.get(), data, bytes);
  ABSL_ASSERT(ok == 1);
}

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  const int ok = EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
  ABSL_ASSERT(ok == 1);
  return digest;
}

Sha256Digest Sha256Of(absl::string_view data) {
  Sha256 hash;
  hash.Update(data);
  return hash.Finish();
}

std::string ToHex(const Sha256Digest& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string Sha256Hex(absl::string_view data) { return ToHex(Sha256Of(data)); }

}  // namespace softsplice
