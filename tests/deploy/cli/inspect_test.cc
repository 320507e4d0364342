#include "deploy/cli/inspect.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/common/gguf/gguf_writer.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Written(const std::vector<std::string>& paths, InspectAs as) {
  std::ostringstream out;
  const auto servable = Inspect(paths, as, out);
  EXPECT_TRUE(servable.ok()) << servable.status();
  return out.str();
}

std::string Text(const std::string& path) { return Written({path}, InspectAs::kTensors); }

nlohmann::json Json(const std::string& path) {
  return nlohmann::json::parse(Written({path}, InspectAs::kJson));
}

class InspectTest : public testing::Test {
 protected:
  ~InspectTest() override { std::filesystem::remove(path_); }
  std::string Write(const gguf::GgufWriter& writer) const {
    gguf::WriteFile(path_, writer.Build());
    return path_;
  }
  std::string path_ = absl::StrCat(testing::TempDir(), "inspect.", getpid(), ".gguf");
};

TEST_F(InspectTest, SaysWhatATextModelIsGoodFor) {
  const std::string text = Text("tests/data/models/tiny-F16.gguf");
  EXPECT_THAT(text, HasSubstr("a Gemma 4 text model: tiny-F16\n"));
  EXPECT_THAT(text, HasSubstr("the decoder serves it: give it to --model\n"));
  EXPECT_THAT(text, HasSubstr("4.0 MiB (4,241,728 bytes in 1 file)"));
  EXPECT_THAT(text, HasSubstr("7: S F S F | S S F\n"));
  EXPECT_THAT(text, HasSubstr("\"<unk>\", \"<mask>\", \"[multimodal]\", \"<|tool>\", "
                              "\"<tool|>\", ...] (800 entries)\n"));
  EXPECT_THAT(text, HasSubstr("  token_embd.weight                 F16   160 x 800  256,000\n"));
  const nlohmann::json json = Json("tests/data/models/tiny-F16.gguf");
  EXPECT_EQ(json["kind"], "text");
  EXPECT_EQ(json["servable"], true);
  EXPECT_EQ(json["text"]["kv_source"], nlohmann::json({0, 1, 2, 3, 2, 2, 3}));
  EXPECT_EQ(json["types"]["F16"]["tensors"], 62);
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.tokens"]["count"], 800);
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.tokens"]["first"].size(), 32u);
  EXPECT_EQ(json["metadata"]["gemma4.attention.sliding_window_pattern"].size(), 7u);
  EXPECT_EQ(json["tensors"].size(), 119u);
  EXPECT_EQ(json["tensors"][1]["shape"], nlohmann::json({160, 800}));
}

TEST_F(InspectTest, SaysWhereLayersDiffer) {
  EXPECT_THAT(Text("tests/data/models/tiny_e2b-F16.gguf"),
              HasSubstr("32, FFN 64 (layers 0-4), 128 (layers 5-9), per-layer"));
}

TEST_F(InspectTest, SaysWhatAnMmprojIsGoodFor) {
  const std::string path = "tests/data/models/mmproj-tiny-F16.gguf";
  EXPECT_THAT(Text(path), HasSubstr("an mmproj file with an image and an audio tower"));
  EXPECT_THAT(Text(path), HasSubstr("the encoder serves its two towers: give it to --mmproj\n"));
  EXPECT_EQ(Json(path)["vision"]["positions"], 512);
  EXPECT_EQ(Json(path)["audio"]["output_dim"], 128);
}

TEST_F(InspectTest, SaysWhyAFileCannotBeServed) {
  gguf::GgufWriter llama;
  llama.String("general.architecture", "llama").Zeros("w", gguf::Type::kF32, {4});
  EXPECT_THAT(Text(Write(llama)), HasSubstr("a model of architecture llama\n"));
  EXPECT_EQ(Json(path_)["servable"], false);
  gguf::GgufWriter damaged;
  damaged.String("general.architecture", "gemma4");
  EXPECT_THAT(Text(Write(damaged)),
              HasSubstr("can't be served: metadata \"gemma4.block_count\" is missing\n"));
  gguf::GgufWriter audio;
  audio.String("general.architecture", "clip").Bool("clip.has_audio_encoder", true);
  EXPECT_THAT(Text(Write(audio)), HasSubstr("an mmproj file with an audio tower\n"));
  EXPECT_THAT(Text(path_),
              HasSubstr("can't be served: metadata \"clip.projector_type\" is missing\n"));
  EXPECT_THAT(Text(Write(gguf::GgufWriter())), HasSubstr("without general.architecture"));
}

TEST_F(InspectTest, TextsAreSafeForATerminalAndForJson) {
  gguf::GgufWriter writer;
  writer.String("general.name", "red \x1b[31m").String("bad", "\xff\xfe");
  writer.String("long", std::string(71, 'a') + "\xc3\xa9" + std::string(50, 'b'));
  writer.Zeros("\x1b", gguf::Type::kF32, {1});
  const std::string text = Text(Write(writer));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("\"red \\033[31m\"\n"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("\"", std::string(71, 'a'), "...\" (123 bytes)\n")));
  EXPECT_EQ(Json(path_)["metadata"]["bad"], "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_F(InspectTest, OpenErrorsAreReturned) {
  std::ostringstream out;
  EXPECT_EQ(Inspect({"none.gguf"}, InspectAs::kSummary, out).status().code(),
            absl::StatusCode::kNotFound);
  gguf::WriteFile(path_, "not a model");
  EXPECT_EQ(Inspect({path_}, InspectAs::kJson, out).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(out.str(), "");
}

TEST_F(InspectTest, TheSummaryFitsAScreen) {
  const std::string text = Written({"tests/data/models/tiny-F16.gguf"}, InspectAs::kSummary);
  EXPECT_THAT(text, HasSubstr("the decoder serves it"));
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 24);
}

TEST_F(InspectTest, NamesTypesThatAreNotRead) {
  gguf::GgufWriter writer;
  writer.String("general.architecture", "llama");
  writer.Zeros("w", static_cast<gguf::Type>(39), {32})
      .Zeros("v", static_cast<gguf::Type>(16), {256});
  const std::string text = Text(Write(writer));
  EXPECT_THAT(text, HasSubstr("  w     MXFP4    32        17\n"));
  EXPECT_THAT(text, HasSubstr("  v     IQ2_XXS  256       66\n"));
}

constexpr char kTiny[] = "tests/data/models/tiny-F16.gguf";
constexpr char kTinyMmproj[] = "tests/data/models/mmproj-tiny-F16.gguf";
constexpr char kDemoMmproj[] = "tests/data/demo/demo-mmproj.gguf";

TEST_F(InspectTest, SaysWhetherTwoFilesGoTogether) {
  std::ostringstream out;
  EXPECT_TRUE(*Inspect({kTinyMmproj, kTiny}, InspectAs::kSummary, out));
  EXPECT_THAT(out.str(), HasSubstr("Pair  they go together\n"));
  EXPECT_FALSE(*Inspect({kTiny, kDemoMmproj}, InspectAs::kSummary, out));
  EXPECT_THAT(
      out.str(),
      HasSubstr("they don't go together: the text model and the mmproj are not of one model"));
  EXPECT_FALSE(*Inspect({kTiny, kTiny}, InspectAs::kSummary, out));
  EXPECT_THAT(out.str(), HasSubstr("a pair is a text model and an mmproj file"));
  const auto json = nlohmann::json::parse(Written({kTiny, kTinyMmproj}, InspectAs::kJson));
  EXPECT_EQ(json["pair"], "they go together");
  EXPECT_EQ(json["files"].size(), 2u);
  EXPECT_EQ(std::stoull(Written({kTiny, kTinyMmproj}, InspectAs::kMemory)),
            std::stoull(Written({kTiny}, InspectAs::kMemory)) +
                std::stoull(Written({kTinyMmproj}, InspectAs::kMemory)));
}

}  // namespace
}  // namespace softsplice
