#include "common/secrets/tokens.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace softsplice {
namespace {

constexpr size_t kMostName = 64;
constexpr size_t kMostToken = 4096;

bool IsName(absl::string_view text) {
  return !text.empty() && text.size() <= kMostName &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || absl::StrContains("._-@/", absl::string_view(&c, 1));
         });
}

bool IsDigest(absl::string_view text) {
  return text.size() == 2 * sizeof(Sha256Digest) &&
         std::all_of(text.begin(), text.end(), absl::ascii_isxdigit);
}

}  // namespace

absl::StatusOr<Tokens> Tokens::Parse(absl::string_view text, const std::string& path) {
  Tokens tokens;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty() || words[0].front() == '#') continue;
    if (words.size() != 2 || !IsName(words[0]) || !IsDigest(words[1])) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ", line ", number, ", is not a name and the SHA-256 of a token (64 digits)"));
    }
    Entry& entry = tokens.entries_.emplace_back();
    entry.name = std::string(words[0]);
    const std::string digest = absl::HexStringToBytes(words[1]);
    std::copy(digest.begin(), digest.end(), entry.digest.begin());
  }
  if (tokens.entries_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no token"));
  }
  return tokens;
}

std::string Tokens::NameOf(absl::string_view token) const {
  const Sha256Digest digest = Sha256Of(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) found = &entry;
  }
  return found == nullptr ? "" : found->name;
}

absl::StatusOr<std::string> ParseToken(absl::string_view text, const std::string& path) {
  const absl::string_view token = absl::StripAsciiWhitespace(text);
  if (token.empty() || token.size() > kMostToken ||
      !std::all_of(token.begin(), token.end(), absl::ascii_isgraph)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no token"));
  }
  return std::string(token);
}

}  // namespace softsplice
