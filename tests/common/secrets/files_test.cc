#include "common/secrets/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

class FilesTest : public testing::Test {
 protected:
  std::string Path(const char* name) { return absl::StrCat(testing::TempDir(), name, getpid()); }
  void Write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  }
  absl::StatusOr<std::unique_ptr<Reread<std::string>>> Open() {
    return Reread<std::string>::Open(
        {a_, b_}, [](const std::vector<std::string>& texts) -> absl::StatusOr<std::string> {
          const std::string all = absl::StrCat(texts[0], texts[1]);
          if (all.find("bad") != all.npos) return absl::InvalidArgumentError("it is bad");
          return all;
        });
  }

  const std::string a_ = Path("a"), b_ = Path("b");
};

TEST_F(FilesTest, SayWhatIsWrongWithThem) {
  const auto why = [](const std::string& path) {
    const absl::Status status = ReadFiles({path}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(why("/no/such/file"), "/no/such/file can't be read: No such file or directory");
  EXPECT_THAT(why("/"), HasSubstr("no regular file"));
  EXPECT_THAT(why("/dev/zero"), HasSubstr("no regular file"));
  ASSERT_EQ(mkfifo(a_.c_str(), 0600), 0);
  EXPECT_THAT(why(a_), HasSubstr("no regular file")) << "and nobody waits for who writes to it";
  unlink(a_.c_str());
  Write(a_, std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(why(a_), HasSubstr("more than 1 MiB"));
}

TEST_F(FilesTest, AreTakenOnceTheyStandStill) {
  Write(a_, "one ");
  Write(b_, "two");
  const auto files = *Open();
  EXPECT_EQ(*files->value(), "one two");
  const auto before = files->value();
  EXPECT_EQ(*files->Look(), false);
  Write(a_, "three ");
  EXPECT_EQ(*files->Look(), false) << "somebody may be writing";
  Write(b_, "four");
  EXPECT_EQ(*files->Look(), false);
  EXPECT_EQ(files->value(), before);
  EXPECT_EQ(*files->Look(), true);
  EXPECT_EQ(*files->value(), "three four");
  EXPECT_EQ(*before, "one two") << "who has it keeps it";
  EXPECT_EQ(*files->Look(), false);
}

TEST_F(FilesTest, KeepTheirValueWhateverBecomesOfThem) {
  Write(a_, "one ");
  Write(b_, "two");
  const auto files = *Open();
  const auto first = files->value();
  for (const bool missing : {false, true}) {
    Write(a_, "bad");
    if (missing) unlink(a_.c_str());
    EXPECT_EQ(*files->Look(), false);
    EXPECT_TRUE(absl::IsInvalidArgument(files->Look().status()));
    EXPECT_EQ(*files->Look(), false) << "told once";
    EXPECT_EQ(files->value(), first);
  }
  Write(a_, "one ");
  EXPECT_EQ(*files->Look(), false);
  EXPECT_EQ(*files->Look(), false) << "it is what it was";
  EXPECT_EQ(files->value(), first);
  Write(a_, "new ");
  EXPECT_EQ(*files->Look(), false);
  EXPECT_EQ(*files->Look(), true);
  EXPECT_EQ(*files->value(), "new two");
}

TEST_F(FilesTest, AreNotOpenedWhenWrong) {
  Write(a_, "bad");
  Write(b_, "two");
  EXPECT_EQ(Open().status(), absl::InvalidArgumentError("it is bad"));
  unlink(b_.c_str());
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("can't be read"));
}

}  // namespace
}  // namespace softsplice
