// Bearer tokens: what callers show, and the list of those who may call.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/hash/sha256.h"

namespace softsplice {

// Who may call. Holds no token, only what tells whether something is one.
class Tokens {
 public:
  // Lines of a name (letters, digits, '.', '_', '-', '@', '/'; 64 at most), a space and the token's
  // SHA-256 in hexadecimal; empty ones, and those that begin with '#', say nothing. A name may have
  // several tokens. INVALID_ARGUMENT names `path` and the line; a text without any token is one.
  static absl::StatusOr<Tokens> Parse(absl::string_view text, const std::string& path);

  // Whose token it is; empty: nobody's. Takes as long for one as for the other.
  std::string NameOf(absl::string_view token) const;

 private:
  struct Entry {
    std::string name;
    Sha256Digest digest;
  };
  std::vector<Entry> entries_;
};

// The token in a file that holds one and nothing else but white space around it. INVALID_ARGUMENT:
// it is none that a header could hold.
absl::StatusOr<std::string> ParseToken(absl::string_view text, const std::string& path);

}  // namespace softsplice
