#include "common/text/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace softsplice {
namespace {

TEST(NextUtf8, EveryCharacter) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    if (c < 0x80) {
      text = {static_cast<char>(c)};
    } else if (c < 0x800) {
      text = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
    } else if (c < 0x10000) {
      text = {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
              static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      text = {static_cast<char>(0xF0 | (c >> 18)), static_cast<char>(0x80 | ((c >> 12) & 0x3F)),
              static_cast<char>(0x80 | ((c >> 6) & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    }
    const Utf8Char read = NextUtf8(text + "x");
    ASSERT_EQ(read.state, Utf8::kValid) << static_cast<uint32_t>(c);
    ASSERT_EQ(read.code, c);
    ASSERT_EQ(read.bytes, text.size());
    for (size_t n = 1; n < text.size(); ++n) {
      ASSERT_EQ(NextUtf8(text.substr(0, n)).state, Utf8::kIncomplete);
      ASSERT_EQ(NextUtf8(text.substr(0, n) + "x").state, Utf8::kInvalid);
      ASSERT_EQ(NextUtf8(text.substr(0, n) + "x").bytes, n);
    }
  }
}

TEST(NextUtf8, WhatIsNotUtf8) {
  // Continuation, overlong, surrogate, beyond U+10FFFF, never used.
  for (const char* text : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                           "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(NextUtf8(text).state, Utf8::kInvalid);
    EXPECT_EQ(NextUtf8(text).bytes, 1u);
  }
}

TEST(ToUtf8, ReplacesWhatIsNoCharacter) {
  EXPECT_EQ(ToUtf8("aä€😀"), "aä€😀");
  EXPECT_EQ(ToUtf8("\xE3\x80z\xFF\xF0\x9F"), "\uFFFDz\uFFFD\uFFFD");
  EXPECT_EQ(ToUtf8(""), "");
}

TEST(StripUnicodeSpace, AsPython) {
  EXPECT_EQ(StripUnicodeSpace(" \t\n\v\f\r\x1c\x1f a b \u0085\u00a0\u1680\u2009\u2028\u3000"),
            "a b");
  EXPECT_EQ(StripUnicodeSpace("\u200bx\ufeff"), "\u200bx\ufeff");
  EXPECT_EQ(StripUnicodeSpace(" \u3000\n"), "");
  EXPECT_EQ(StripUnicodeSpace(""), "");
  EXPECT_EQ(StripUnicodeSpace(" \xE3\x80"), "\xE3\x80");
}

}  // namespace
}  // namespace softsplice
