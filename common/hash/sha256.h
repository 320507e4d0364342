// SHA-256: content digests and fingerprints.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace softsplice {

using Sha256Digest = std::array<uint8_t, 32>;

// Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(const void* data, size_t bytes);
  void Update(absl::string_view data) { Update(data.data(), data.size()); }
  // The digest of all bytes so far; call it once, last.
  Sha256Digest Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Sha256Digest Sha256Of(absl::string_view data);
// 64 lower-case hex digits.
std::string ToHex(const Sha256Digest& digest);
// ToHex(Sha256Of(data)).
std::string Sha256Hex(absl::string_view data);

}  // namespace softsplice
