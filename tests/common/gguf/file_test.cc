// Opening files, split files, and the look-ups.
#include "common/gguf/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice::gguf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() : dir_(absl::StrCat(testing::TempDir(), "gguf_file_test.", getpid(), "/")) {
    std::filesystem::create_directories(dir_);
  }
  ~FileTest() override { std::filesystem::remove_all(dir_); }

  std::string Write(const std::string& name, const GgufWriter& writer) const {
    WriteFile(dir_ + name, writer.Build());
    return dir_ + name;
  }
  // Part `no` (from 0) of a file "m" split into `count`, with one tensor.
  void WritePart(int no, int count, int stated_no, int stated_count, int tensors) const {
    GgufWriter writer;
    if (no == 0) writer.String("general.name", "split model");
    writer.U16("split.no", static_cast<uint16_t>(stated_no));
    writer.U16("split.count", static_cast<uint16_t>(stated_count));
    writer.I32("split.tensors.count", tensors);
    writer.Tensor(absl::StrCat("t", no), Type::kF32, {1}, std::string(4, static_cast<char>(no)));
    Write(PartName(no, count), writer);
  }
  static std::string PartName(int no, int count) {
    return absl::StrFormat("m-%05d-of-%05d.gguf", no + 1, count);
  }

  std::string dir_;
};

void ExpectError(const absl::Status& status, absl::StatusCode code, const std::string& message) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

void ExpectInvalid(const absl::Status& status, const std::string& message) {
  ExpectError(status, absl::StatusCode::kFailedPrecondition, message);
}

TEST_F(FileTest, OpenNamesWhatCannotBeRead) {
  ExpectError(File::Open(dir_ + "none.gguf").status(), absl::StatusCode::kNotFound,
              "none.gguf: can't be read: No such file");
  ExpectError(File::Open(dir_).status(), absl::StatusCode::kNotFound, "is a directory");
  ASSERT_EQ(mkfifo((dir_ + "pipe").c_str(), 0600), 0);
  ExpectError(File::Open(dir_ + "pipe").status(), absl::StatusCode::kNotFound,
              "not a regular file");
  WriteFile(dir_ + "empty.gguf", "");
  ExpectInvalid(File::Open(dir_ + "empty.gguf").status(), "the file ends in the magic number");
  if (geteuid() == 0) return;  // root may read everything
  const std::string closed = Write("closed.gguf", GgufWriter());
  ASSERT_EQ(chmod(closed.c_str(), 0), 0);
  ExpectError(File::Open(closed).status(), absl::StatusCode::kPermissionDenied, "can't be read");
}

TEST_F(FileTest, LooksUpMetadata) {
  GgufWriter writer;
  writer.U32("u", 5).I32("i", -5).F32("f", 0.5f).Bool("b", true).String("s", "text");
  writer.I32s("is", {1, 2}).Bools("bs", {true, false}).StringList("ss", {"x", "y"});
  writer.Raw("huge", 10, Bytes().Put<uint64_t>(~0ull).str());
  const auto opened = File::Open(Write("a.gguf", writer));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const File& file = **opened;
  EXPECT_TRUE(file.Has("u"));
  EXPECT_FALSE(file.Has("none"));
  EXPECT_TRUE(file.IsArray("bs") && file.IsArray("ss") && !file.IsArray("u") &&
              !file.IsArray("none"));
  EXPECT_EQ(*file.Int("u"), 5);
  EXPECT_EQ(*file.Int("i"), -5);
  EXPECT_EQ(*file.Float("f"), 0.5);
  EXPECT_EQ(*file.Float("i"), -5.0);
  EXPECT_EQ(*file.Float("u"), 5.0);
  EXPECT_EQ(*file.Bool("b"), true);
  EXPECT_EQ(*file.String("s"), "text");
  EXPECT_THAT(*file.Ints("is"), ElementsAre(1, 2));
  EXPECT_THAT(*file.Ints("bs"), ElementsAre(1, 0));
  EXPECT_THAT(**file.StringList("ss"), ElementsAre("x", "y"));

  ExpectInvalid(file.Int("none").status(), "a.gguf: metadata \"none\" is missing");
  ExpectInvalid(file.Int("f").status(), "metadata \"f\" is a number, expected an integer");
  ExpectInvalid(file.Int("huge").status(), "is 18446744073709551615");
  ExpectInvalid(file.Float("s").status(), "is a string, expected a number");
  ExpectInvalid(file.Bool("u").status(), "is an integer, expected a bool");
  ExpectInvalid(file.String("ss").status(), "is an array of strings, expected a string");
  ExpectInvalid(file.Ints("u").status(), "expected an array of integers");
  ExpectInvalid(file.StringList("is").status(), "is an array of integers, expected an array of");
}

TEST_F(FileTest, LooksUpTensors) {
  GgufWriter writer;
  writer.Tensor("w", Type::kF32, {2, 3},
                Bytes().Put(1.f).Put(2.f).PutRaw(std::string(16, '\0')).str());
  writer.Zeros("q", Type::kQ8_0, {32, 2, 1});
  const auto opened = File::Open(Write("a.gguf", writer));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const File& file = **opened;
  EXPECT_EQ((*file.Find("w", {2, 3}))->name, "w");
  EXPECT_TRUE(file.Find("w", {2, 3, 1}).ok());
  EXPECT_TRUE(file.Find("w", {-1, 3}).ok());
  EXPECT_TRUE(file.Find("q", {32, 2}).ok());
  EXPECT_EQ((*file.FindF32("w", {2, 3}))[1], 2.f);
  EXPECT_EQ(file.FindOptional("none"), nullptr);
  ExpectInvalid(file.Find("none", {1}).status(), "a.gguf: tensor \"none\" is missing");
  ExpectInvalid(file.Find("w", {-1, 4}).status(), "has shape [2, 3], expected [any, 4]");
  ExpectInvalid(file.Find("w", {2}).status(), "has shape [2, 3], expected [2]");
  ExpectInvalid(file.Find("q", {32, 2, 2}).status(), "expected [32, 2, 2]");
  ExpectInvalid(file.FindF32("q", {32, 2}).status(), "tensor \"q\" is Q8_0, expected F32");
}

TEST_F(FileTest, DroppedPagesReadTheSame) {
  GgufWriter writer;
  writer.Tensor("a", Type::kF32, {5000}, std::string(20000, 'a'));
  writer.Tensor("b", Type::kF32, {5000}, std::string(20000, 'b'));
  const auto file = File::Open(Write("a.gguf", writer));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const Tensor& tensor : (*file)->tensors()) (*file)->DropPages(tensor);
  for (const Tensor& tensor : (*file)->tensors()) {
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensor.data), tensor.bytes),
              std::string(20000, tensor.name[0]));
  }
}

TEST_F(FileTest, OpensAllPartsWhicheverIsNamed) {
  for (int no = 0; no < 3; ++no) WritePart(no, 3, no, 3, 3);
  for (int no = 0; no < 3; ++no) {
    const auto file = File::Open(dir_ + PartName(no, 3));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->parts(), 3u);
    EXPECT_EQ(*(*file)->String("general.name"), "split model");
    ASSERT_EQ((*file)->tensors().size(), 3u);
    for (int t = 0; t < 3; ++t) {
      const auto tensor = (*file)->Find(absl::StrCat("t", t), {1});
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      EXPECT_EQ((*tensor)->data[0], t);
    }
    uint64_t bytes = 0;
    for (int t = 0; t < 3; ++t) bytes += std::filesystem::file_size(dir_ + PartName(t, 3));
    EXPECT_EQ((*file)->file_bytes(), bytes);
  }
}

TEST_F(FileTest, ChecksSplitFiles) {
  WritePart(0, 2, 0, 2, 2);
  ExpectError(File::Open(dir_ + PartName(0, 2)).status(), absl::StatusCode::kNotFound,
              "m-00002-of-00002.gguf: can't be read");
  WritePart(1, 2, 0, 2, 2);
  ExpectInvalid(File::Open(dir_ + PartName(0, 2)).status(), "the name says part 2, split.no is 0");
  WritePart(1, 2, 1, 3, 2);
  ExpectInvalid(File::Open(dir_ + PartName(0, 2)).status(), "says 2 parts, split.count says 3");
  WritePart(1, 2, 1, 2, 2);
  EXPECT_TRUE(File::Open(dir_ + PartName(0, 2)).ok());
  WritePart(0, 2, 0, 2, 5);
  ExpectInvalid(File::Open(dir_ + PartName(0, 2)).status(),
                "split.tensors.count is 5, but the 2 parts have 2 tensors");

  GgufWriter second;
  second.U16("split.no", 1).U16("split.count", 2).Zeros("t0", Type::kF32, {1});
  Write(PartName(1, 2), second);
  ExpectInvalid(File::Open(dir_ + PartName(0, 2)).status(), "\"t0\" is also in an earlier part");

  Write(PartName(1, 2), GgufWriter());
  ExpectInvalid(File::Open(dir_ + PartName(0, 2)).status(), "split.count says nothing");
  second.String("x", "y");
  ExpectInvalid(File::Open(Write("renamed.gguf", second)).status(), "is one of 2 parts");
}

TEST_F(FileTest, OtherNamesAreNotSplit) {
  for (const char* name :
       {"m-00003-of-00002.gguf", "m-0000a-of-00002.gguf", "m-00001_of_00002.gguf",
        "-00001-of-00001.gguf", "m-00000-of-00000.gguf"}) {
    const auto file = File::Open(Write(name, GgufWriter()));
    EXPECT_TRUE(file.ok()) << file.status();
  }
}

TEST(RealFilesTest, OpenAndKeepTheirShapes) {
  const auto text = File::Open("tests/data/models/tiny-F16.gguf");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*(*text)->String("general.architecture"), "gemma4");
  EXPECT_EQ((*text)->tensors().size(), 119u);
  EXPECT_TRUE((*text)->Find("token_embd.weight", {160, 800}).ok());
  const auto mmproj = File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  ASSERT_TRUE(mmproj.ok()) << mmproj.status();
  EXPECT_TRUE((*mmproj)->Find("v.patch_embd.weight", {16, 16, 3, 96}).ok());
}

}  // namespace
}  // namespace softsplice::gguf
