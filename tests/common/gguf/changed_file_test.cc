// A model file that somebody changes while it is in use.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/gguf/file.h"
#include "common/gguf/lost_pages.h"
#include "common/status/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice::gguf {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

class ChangedFileTest : public testing::Test {
 protected:
  ChangedFileTest() : dir_(absl::StrCat(testing::TempDir(), "changed_file_test.", getpid(), "/")) {
    std::filesystem::create_directories(dir_);
    Write(path_);
    file_ = *File::Open(path_);
  }
  ~ChangedFileTest() override { std::filesystem::remove_all(dir_); }

  static void Write(const std::string& path) {
    GgufWriter writer;
    writer.Tensor("t", Type::kF32, {4096}, std::string(4 * 4096, 'x'));
    WriteFile(path, writer.Build());
  }
  void ExpectChanged() const {
    const absl::Status status = file_->CheckUnchanged();
    EXPECT_EQ(GetErrorDetail(status).reason, "FILE_CHANGED");
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_ + ": was changed"));
  }

  const std::string dir_;
  const std::string path_ = dir_ + "a.gguf";
  std::unique_ptr<File> file_;
};

TEST_F(ChangedFileTest, ReadingChangesNothing) {
  EXPECT_TRUE(file_->CheckUnchanged().ok());
  EXPECT_TRUE(File::Open(path_).ok());
  EXPECT_TRUE(file_->CheckUnchanged().ok());
}

TEST_F(ChangedFileTest, SeesBytesWrittenInPlace) {
  // The clock of file times is coarse: the time that a later write would give.
  std::fstream(path_, std::ios::in | std::ios::out | std::ios::binary).seekp(-1, std::ios::end)
      << 'y';
  const timespec later[2] = {{}, {.tv_sec = time(nullptr) + 1}};
  ASSERT_EQ(utimensat(AT_FDCWD, path_.c_str(), later, 0), 0);
  ExpectChanged();
}

TEST_F(ChangedFileTest, SeesACut) {
  ASSERT_EQ(truncate(path_.c_str(), 100), 0);
  ExpectChanged();
}

TEST_F(ChangedFileTest, AFileThatWasReplacedIsStillTheOldOne) {
  Write(dir_ + "new.gguf");
  std::filesystem::rename(dir_ + "new.gguf", path_);
  EXPECT_TRUE(file_->CheckUnchanged().ok());
  std::filesystem::remove(path_);
  EXPECT_TRUE(file_->CheckUnchanged().ok());
  EXPECT_EQ(file_->FindOptional("t")->data[4 * 4096 - 1], 'x');
}

TEST_F(ChangedFileTest, LookingAtPagesThatAreGoneEndsWithASentence) {
  EXPECT_EXIT(
      {
        EndOnLostPages("program", 7);
        if (truncate(path_.c_str(), 100) != 0) std::exit(1);
        std::exit(*static_cast<const volatile uint8_t*>(file_->FindOptional("t")->data + 3 * 4096));
      },
      ExitedWithCode(7), "^program: a page of a mapped file is gone");
}

}  // namespace
}  // namespace softsplice::gguf
