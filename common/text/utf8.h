// UTF-8, one character at a time.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace softsplice {

enum class Utf8 { kValid, kInvalid, kIncomplete };

struct Utf8Char {
  Utf8 state = Utf8::kInvalid;
  char32_t code = 0;  // with kValid
  // Valid: the character's bytes. Invalid: those that one U+FFFD replaces (the longest start of a
  // character, as Python's errors="replace" and the Unicode standard have it). Incomplete: all.
  size_t bytes = 0;
};

// The character that `text` (not empty) starts with. Incomplete: `text` ends within a character.
Utf8Char NextUtf8(absl::string_view text);

// `bytes` as the contract's string fields must be: every byte that is part of no character reads as
// U+FFFD, as in Utf8Char.
std::string ToUtf8(absl::string_view bytes);

// `text` without the white space around it, as Python's str.strip() and Jinja's trim see it.
absl::string_view StripUnicodeSpace(absl::string_view text);

}  // namespace softsplice
