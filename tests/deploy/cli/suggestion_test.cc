#include "deploy/cli/suggestion.h"

#include "gtest/gtest.h"

namespace softsplice {
namespace {

TEST(DidYouMean, NamesTheNearest) {
  const std::vector<std::string> commands = {"up", "chat", "encode", "info", "inspect", "bench"};
  for (const char* typed : {"caht", "chta", "cht", "chatt", "cat", "chat-", "Chat"}) {
    EXPECT_EQ(DidYouMean(typed, commands), "; did you mean chat?") << typed;
  }
  EXPECT_EQ(DidYouMean("inspcet", commands), "; did you mean inspect?");
  EXPECT_EQ(DidYouMean("inf", commands), "; did you mean info?");
}

TEST(DidYouMean, IsSilentWhereNothingIsNear) {
  const std::vector<std::string> commands = {"up", "chat"};
  for (const std::string& typed : {std::string("x"), std::string("ab"), std::string("cxyt"),
                                   std::string("nonsense"), std::string(100'000, 'c')}) {
    EXPECT_EQ(DidYouMean(typed, commands), "");
  }
  EXPECT_EQ(DidYouMean("chat", {}), "");
}

}  // namespace
}  // namespace softsplice
