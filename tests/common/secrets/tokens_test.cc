#include "common/secrets/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

// SHA-256 of "abc", as FIPS 180 has it.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Tokens, KnowWhoseTheyAre) {
  const std::string other = Sha256Hex("other");
  const auto tokens =
      Tokens::Parse(absl::StrCat("# who may call\n\n  team/a@b.c-d_1\t", kAbc, "  \r\nbob ", other,
                                 "\nbob ", absl::AsciiStrToUpper(Sha256Hex("another"))),
                    "f");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->NameOf("abc"), "team/a@b.c-d_1");
  EXPECT_EQ(tokens->NameOf("other"), "bob");
  EXPECT_EQ(tokens->NameOf("another"), "bob");
  for (const char* none : {"", "ABC", "abcd", kAbc, "bob"}) EXPECT_EQ(tokens->NameOf(none), "");
}

TEST(Tokens, SayWhichLineIsWrong) {
  const std::string good = absl::StrCat("alice ", kAbc, "\n");
  const std::string bad[] = {"alice",
                             kAbc,
                             absl::StrCat("alice ", std::string(kAbc).substr(1)),
                             absl::StrCat("alice ", kAbc, "0"),
                             absl::StrCat("alice g", std::string(kAbc).substr(1)),
                             absl::StrCat("alice ", kAbc, " more"),
                             absl::StrCat("al:ice ", kAbc),
                             absl::StrCat(std::string(65, 'a'), " ", kAbc)};
  for (const std::string& line : bad) {
    const absl::Status status = Tokens::Parse(absl::StrCat(good, "\n", line, "\n"), "f").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr("f, line 3, is not a name")) << line;
  }
  for (const char* none : {"", "\n\n", "# alice\n"}) {
    EXPECT_EQ(Tokens::Parse(none, "f").status(), absl::InvalidArgumentError("f holds no token"));
  }
}

TEST(ParseToken, TakesWhatAHeaderCanHold) {
  EXPECT_EQ(*ParseToken(" abc+/=.~ \r\n", "f"), "abc+/=.~");
  for (const std::string& none :
       {std::string(), std::string("\n"), std::string("two words"), std::string("a\nb"),
        std::string("\x80"), std::string("a\0b", 3), std::string(4097, 'a')}) {
    EXPECT_EQ(ParseToken(none, "f").status(), absl::InvalidArgumentError("f holds no token"));
  }
}

}  // namespace
}  // namespace softsplice
