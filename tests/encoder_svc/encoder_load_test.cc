// Loading of the encoder engine: which files it takes, and what tells them apart.
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/gguf/file.h"
#include "common/status/error.h"
#include "encoder_svc/encoder.h"
#include "encoder_svc/fingerprint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/encoder_testing.h"
#include "tests/support/read_file.h"
#include "tests/support/temp_folder.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in
using ::testing::HasSubstr;

constexpr char kText[] = "tests/data/demo/demo-text.gguf";

// A copy of the file, in which a tensor begins with `first`.
std::string Changed(const gguf::File& file, const std::string& name, const std::string& first,
                    const TempFolder& folder) {
  std::string bytes = ReadFile(file.path());
  const gguf::Tensor& last = file.tensors().back();
  const unsigned char* const at = file.FindOptional(name)->data;
  bytes.replace(bytes.size() - static_cast<size_t>(last.data + last.bytes - at), first.size(),
                first);
  const std::string path = folder / "changed.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(Fingerprint, SeesEveryByteAndTheVersion) {
  const auto tiny = gguf::File::Open("tests/data/models/mmproj-tiny-F16.gguf");
  const auto demo = gguf::File::Open(kMmproj);
  ASSERT_TRUE(tiny.ok() && demo.ok());
  EXPECT_NE(Fingerprint(**tiny, "1"), Fingerprint(**demo, "1"));
  EXPECT_NE(Fingerprint(**tiny, "1"), Fingerprint(**tiny, "2"));
  EXPECT_EQ(Fingerprint(**tiny, "1"), Fingerprint(**tiny, "1"));

  for (const char* name : {"v.patch_embd.weight", "a.conv1d.0.weight", "a.blk.2.conv_dw.weight",
                           "a.blk.1.attn_q.input_min", "mm.a.input_projection.weight"}) {
    const gguf::Tensor* tensor = (*tiny)->FindOptional(name);
    ASSERT_NE(tensor, nullptr) << name;
    const TempFolder folder;
    const std::string other(1, static_cast<char>(*tensor->data ^ 1));
    const auto changed = gguf::File::Open(Changed(**tiny, name, other, folder));
    ASSERT_TRUE(changed.ok()) << changed.status();
    EXPECT_NE(*(*changed)->FindOptional(name)->data, *tensor->data) << name;
    EXPECT_NE(Fingerprint(**tiny, "1"), Fingerprint(**changed, "1")) << name;
  }
}

// A file whose other tower is switched off by its key.
std::string WithoutTower(const TempFolder& folder, const std::string& key) {
  std::string bytes = ReadFile(kMmproj);
  const size_t at = bytes.find(key);
  EXPECT_NE(at, std::string::npos);
  bytes[at + key.size() + 4] = 0;  // behind the value's type
  const std::string path = folder / (key + ".gguf");
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(EncoderLoad, TakesFilesWithOneTower) {
  const TempFolder folder;
  const std::string no_audio = WithoutTower(folder, "clip.has_audio_encoder"),
                    no_image = WithoutTower(folder, "clip.has_vision_encoder");
  auto sees = Encoder::Load({.mmproj_path = no_audio, .backend = {.threads = 1}});
  ASSERT_TRUE(sees.ok()) << sees.status();
  EXPECT_TRUE((*sees)->info().has_image_tower);
  EXPECT_FALSE((*sees)->info().has_audio_tower);
  EXPECT_TRUE(Encode(**sees, Sample()).ok());
  const absl::Status deaf = Hear(**sees, SoundJob()).status;
  EXPECT_EQ(deaf.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(deaf.message()), HasSubstr("no audio tower"));

  auto hears = Encoder::Load({.mmproj_path = no_image, .backend = {.threads = 1}});
  ASSERT_TRUE(hears.ok()) << hears.status();
  EXPECT_FALSE((*hears)->info().has_image_tower);
  EXPECT_EQ((*hears)->info().dim, 192);
  EXPECT_TRUE(Hear(**hears, SoundJob()).status.ok());
  const absl::Status blind = Encode(**hears, Sample()).status();
  EXPECT_EQ(blind.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(blind.message()), HasSubstr("no image tower"));
}

TEST(EncoderLoad, RefusesOtherFiles) {
  const auto load = [](const std::string& path) {
    return Encoder::Load({.mmproj_path = path, .backend = {.threads = 1}}).status();
  };
  EXPECT_EQ(load("tests/data/none.gguf").code(), absl::StatusCode::kNotFound);
  const absl::Status text = load(kText);
  EXPECT_EQ(text.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(text.message()), HasSubstr("this is a text file"));

  const std::string bytes = ReadFile(kMmproj);
  const TempFolder folder;
  const std::string path = folder / "cut.gguf";
  std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_EQ(load(path).code(), absl::StatusCode::kFailedPrecondition);
}

// Weights that are not numbers, in either tower: such a file must not serve.
TEST(EncoderLoad, RefusesAModelOfNoNumbers) {
  const auto demo = *gguf::File::Open(kMmproj);
  for (const char* name : {"v.blk.1.ffn_up.weight", "v.position_embd.weight", "a.blk.0.ln2.weight",
                           "a.blk.0.per_dim_scale.weight", "a.conv1d.0.weight"}) {
    const gguf::Tensor* tensor = demo->FindOptional(name);
    ASSERT_NE(tensor, nullptr) << name;
    const TempFolder folder;
    const std::string path = Changed(*demo, name, std::string(tensor->bytes, '\xff'), folder);
    const absl::Status status =
        Encoder::Load({.mmproj_path = path, .backend = {.threads = 1}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(path, ": tensor ", name)));
  }
}

// Patches of such a size have a sum that is infinite.
TEST(EncoderLoad, RefusesAModelThatGivesNoNumbers) {
  const auto demo = *gguf::File::Open(kMmproj);
  ASSERT_EQ(demo->FindOptional("v.position_embd.weight")->type, gguf::Type::kF32);
  const TempFolder folder;
  const std::string path =
      Changed(*demo, "v.position_embd.weight", std::string("\xff\xff\x7f\x7f", 4), folder);
  const absl::Status status =
      Encoder::Load({.mmproj_path = path, .backend = {.threads = 1}}).status();
  EXPECT_EQ(GetErrorDetail(status).reason, "MODEL_NOT_FINITE") << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path), HasSubstr("the image tower gave values that are not finite")));
}

// The image tower reads positions from the file as it goes.
TEST(EncoderLoad, IsNotWellOnceItsFileWasChanged) {
  const TempFolder folder;
  const std::string path = folder / "changed.gguf";
  std::ofstream(path, std::ios::binary) << ReadFile(kMmproj);
  const auto encoder = Encoder::Load({.mmproj_path = path, .backend = {.threads = 1}});
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_TRUE((*encoder)->health().ok());
  std::ofstream(path, std::ios::binary | std::ios::app) << "x";
  EXPECT_EQ(GetErrorDetail((*encoder)->health()).reason, "FILE_CHANGED");
}

TEST(EncoderLoad, NamesAMissingTensor) {
  std::string bytes = ReadFile(kMmproj);
  const size_t name = bytes.find("v.blk.2.ffn_up.weight");
  ASSERT_NE(name, std::string::npos);
  bytes[name + 8] = 'F';
  const TempFolder folder;
  const std::string path = folder / "missing.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  const absl::Status status = Encoder::Load({.mmproj_path = path}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("v.blk.2.ffn_up.weight"));
}

}  // namespace
}  // namespace softsplice
