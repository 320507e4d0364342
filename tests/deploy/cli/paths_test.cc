#include "deploy/cli/paths.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A folder of its own, which is the home folder and the current one.
class PathsTest : public testing::Test {
 protected:
  PathsTest() : before_(std::filesystem::current_path()) {
    std::string folder = testing::TempDir() + "paths-XXXXXX";
    folder_ = mkdtemp(folder.data());
    std::filesystem::current_path(folder_);
    setenv("HOME", folder_.c_str(), 1);
  }
  ~PathsTest() override {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }
  static void Touch(const std::string& name) { std::ofstream{name}; }

  const std::filesystem::path before_;
  std::filesystem::path folder_;
};

TEST_F(PathsTest, TypedNamesAreReadAsAShellWould) {
  Touch("a b.png");
  for (const char* typed : {"a b.png", "  a b.png ", "a\\ b.png", "'a b.png'", "\"a b.png\""}) {
    EXPECT_EQ(TypedPath(typed), "a b.png") << typed;
  }
  const std::string home = (folder_ / "a b.png").string();
  for (const char* typed : {"~/a b.png", "~/a\\ b.png", "'~/a b.png'"}) {
    EXPECT_EQ(TypedPath(typed), home) << typed;
  }
  EXPECT_EQ(TypedPath("nowhere\\ b"), "nowhere b");
  EXPECT_EQ(TypedPath("~user/x"), "~user/x");
  EXPECT_EQ(TypedPath(""), "");
  EXPECT_EQ(TypedPath("'"), "'");
}

TEST_F(PathsTest, AFileWithThatVeryNameComesFirst) {
  for (const char* name : {"a\\ b", "a b", "'a b'"}) Touch(name);
  EXPECT_EQ(TypedPath("a\\ b"), "a\\ b");
  EXPECT_EQ(TypedPath("'a b'"), "'a b'");
}

TEST_F(PathsTest, CompletesWhatIsSure) {
  std::filesystem::create_directory("my folder");
  Touch("my folder/one two.png");
  Touch("my folder/one three.png");
  Touch(".hidden");
  for (const char* typed : {"my", "my fo", "my\\ fo", "'my", "\"my fo"}) {
    const Completion completion = CompletePath(typed);
    EXPECT_EQ(completion.text, "my folder/") << typed;
    EXPECT_THAT(completion.choices, IsEmpty());
  }
  EXPECT_EQ(CompletePath("~/m").text, "~/my folder/");
  EXPECT_EQ(CompletePath("my\\ folder/on").text, "my folder/one t");
  EXPECT_EQ(CompletePath("my folder/one tw").text, "my folder/one two.png");
  EXPECT_THAT(CompletePath("my folder/one t").choices, ElementsAre("one three.png", "one two.png"));
  EXPECT_EQ(CompletePath(".h").text, ".hidden");
  EXPECT_EQ(CompletePath("'nowhere").text, "'nowhere");
  EXPECT_EQ(CompletePath("").text, "my folder/");
}

TEST_F(PathsTest, NoCharacterIsCutInTwo) {
  Touch("ä");
  Touch("ö");
  const Completion completion = CompletePath("");
  EXPECT_EQ(completion.text, "");
  EXPECT_EQ(completion.choices.size(), 2u);
}

}  // namespace
}  // namespace softsplice
