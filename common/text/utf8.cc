#include "common/text/utf8.h"

#include <cstdint>

namespace softsplice {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// How many bytes a character that starts with `lead` has, and the range of its second byte
// (narrower than 80..BF where that keeps out overlong forms, surrogates and what lies beyond
// U+10FFFF).
struct Lead {
  int bytes = 0;  // 0: no character starts so
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

Lead ReadLead(uint8_t lead) {
  if (lead < 0x80) return {1};
  if (lead >= 0xC2 && lead <= 0xDF) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

bool IsUnicodeSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

}  // namespace

Utf8Char NextUtf8(absl::string_view text) {
  const uint8_t first = static_cast<uint8_t>(text[0]);
  const Lead lead = ReadLead(first);
  if (lead.bytes == 0) return {Utf8::kInvalid, 0, 1};
  if (lead.bytes == 1) return {Utf8::kValid, first, 1};
  char32_t code = first & (0x7F >> lead.bytes);
  for (int i = 1; i < lead.bytes; ++i) {
    const size_t at = static_cast<size_t>(i);
    if (at == text.size()) return {Utf8::kIncomplete, 0, at};
    const uint8_t byte = static_cast<uint8_t>(text[at]);
    const bool fits = i == 1 ? byte >= lead.low && byte <= lead.high : byte >= 0x80 && byte <= 0xBF;
    if (!fits) return {Utf8::kInvalid, 0, at};
    code = (code << 6) | (byte & 0x3F);
  }
  return {Utf8::kValid, code, static_cast<size_t>(lead.bytes)};
}

std::string ToUtf8(absl::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Char c = NextUtf8(bytes);
    const absl::string_view part =
        c.state == Utf8::kValid ? bytes.substr(0, c.bytes) : kReplacement;
    text.append(part.data(), part.size());
    bytes.remove_prefix(c.bytes);
  }
  return text;
}

absl::string_view StripUnicodeSpace(absl::string_view text) {
  size_t begin = 0;
  size_t end = 0;
  bool started = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = NextUtf8(text.substr(at));
    const bool space = c.state == Utf8::kValid && IsUnicodeSpace(c.code);
    if (!space && !started) begin = at;
    started = started || !space;
    at += c.bytes;
    if (!space) end = at;
  }
  return started ? text.substr(begin, end - begin) : absl::string_view();
}

}  // namespace softsplice
