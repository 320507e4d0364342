#include "decoder_svc/kv/content.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

TEST(ContentTest, RowsAndTokensAreNeverEqual) {
  std::set<Content> all;
  for (const int token : {0, 1, 262143}) all.insert(ContentOfToken(token));
  for (const uint64_t rows : {0, 1, 70000}) {
    for (const int row : {0, 1, kMostRowsOfOne - 1}) all.insert(ContentOfRow(rows, row));
  }
  EXPECT_EQ(all.size(), 3u + 3 * 3);
}

TEST(ContentNamesTest, OneNameHasOneNumber) {
  ContentNames names;
  const uint64_t picture = names.NumberOf("picture");
  EXPECT_NE(names.NumberOf("sound"), picture);
  EXPECT_EQ(names.NumberOf("picture"), picture);
}

TEST(ContentNamesTest, WhatHasNoNameEqualsNothing) {
  ContentNames names;
  EXPECT_NE(names.NumberOf(""), names.NumberOf(""));
}

// However many names come, none gets a number that another one had.
TEST(ContentNamesTest, NumbersAreNeverGivenTwice) {
  ContentNames names(8);
  std::set<uint64_t> numbers;
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(numbers.insert(names.NumberOf(absl::StrCat(i))).second);
    names.NumberOf("asked again and again");
    numbers.insert(names.NumberOf("asked again and again"));
  }
  EXPECT_EQ(numbers.size(), 101u) << "what is asked for stays";
  EXPECT_TRUE(numbers.insert(names.NumberOf("0")).second) << "what was forgotten is new";
}

}  // namespace
}  // namespace softsplice
